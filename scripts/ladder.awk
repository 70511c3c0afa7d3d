# Last step of ladder.sh: reads what packets.awk wrote (its head says what), sorted, and draws. Variables:
#   art: the eight characters to draw with; times, mermaid, only_verdict: 1 or empty; file: in messages
# Exit status: 1 if the recording is not whole or holds no TCP, 3 with only_verdict if a conversation is not
# whole. C is the client, S the server: state["C"] is the client's.
BEGIN {
    # RFC 9293, figure 5, from the first FIN on; ? is the state of an end whose beginning was not recorded
    map("?>FIN-WAIT-1 SYN-RECEIVED>FIN-WAIT-1 ESTABLISHED>FIN-WAIT-1 CLOSE-WAIT>LAST-ACK", sends_fin)
    map("?>CLOSE-WAIT SYN-RECEIVED>CLOSE-WAIT ESTABLISHED>CLOSE-WAIT FIN-WAIT-2>TIME-WAIT", gets_fin)
    map("FIN-WAIT-1>FIN-WAIT-2 CLOSING>TIME-WAIT LAST-ACK>CLOSED", fin_is_acked)
    map("C>client S>server", name)
    flags_known = split("S SYN F FIN R RST P PSH U URG E ECE W CWR e AE . ACK", flag, " ")
    split(art, a, " "); V = a[1]; L = a[2]; R = a[3]; H = a[4]; TO = a[5]; FROM = a[6]; X = a[7]; GAP = a[8]
    dashes[0] = blanks[0] = ""
    for (i = 1; i <= 40; i++) { dashes[i] = dashes[i - 1] H; blanks[i] = blanks[i - 1] " " }
    status = 1; conversations = 0
}
$3 == "begin" {
    if (conversations++) verdict()
    start = $4; whole = $7; itself = $5 == $6
    header($5, $6)
    rows = keep = latest = count = 0; who = how = reset_by = settled = ""
    split("", drawn); split("", next_seq); split("", hole); split("", acked); split("", fin_end)
    state["C"] = whole ? "SYN-SENT" : "?"; state["S"] = whole ? "" : "?"
    if (itself) state["C"] = state["S"] = ""
    next
}
$3 == "end" {
    if (conversations) verdict()
    problem = complaint($4, substr($0, length($1 $2 $3 $4) + 5))
    if (problem) print "ladder.sh: " ENVIRON["file"] ": " problem >"/dev/stderr"
    status = problem ? 1 : only_verdict && unfinished ? 3 : 0
    next
}
$3 == "client" || $3 == "server" { row($2 - start, $3, substr($0, index($0, $3) + 7)); next }
{
    me = $3 == ">" ? "C" : "S"; peer = $3 == ">" ? "S" : "C"
    at = $4 - start; flags = $5; seq = $6; ack = $7; len = $8; note = ""; count++
    if (!itself) packet(flags ~ /S/, flags ~ /F/, flags ~ /R/)
    text = words() (NF > 8 ? substr($0, index($0, " \"")) : len ? " " len " bytes" : "") note
    if (length(text) > 21) sub(/bytes/, "B", text)
    if (length(text) > 21) sub(/PSH, /, "", text)
    row(at, $3, substr(text, 1, 21))
}
END { exit status }

function map(pairs, to,    n, pair, i, ends) {
    n = split(pairs, pair, " ")
    for (i = 1; i <= n; i++) { split(pair[i], ends, ">"); to[ends[1]] = ends[2] }
}
function words(    i, all) { # S. is SYN, ACK
    if (flags in words_of) return words_of[flags]
    for (i = 1; i < flags_known; i += 2) if (index(flags, flag[i])) all = all ", " flag[i + 1]
    return words_of[flags] = flags ~ /none/ ? "no flags" : substr(all, 3)
}
function minus(a, b) { return (a - b + 6442450944) % 4294967296 - 2147483648 } # sequence numbers go round at 2^32
function over() { return state["C"] ~ /^(CLOSED|TIME-WAIT)$/ && state["S"] ~ /^(CLOSED|TIME-WAIT)$/ }

# What a packet of ME does to both states.
function packet(syn, fin, rst,    end, before) {
    if (fin || rst) keep = 1 # what comes later may tell more about this packet
    end = seq + len + syn + fin
    if (end > seq && repeated(end)) note = " again"
    if (rst && !believed()) note = " ignored"
    else if (rst) reset()
    if (rst) return
    if (ack != "-") acked[me] = ack
    if (reset_by == peer && !settled) missed(fin ? "FIN" : len ? "data" : "ACK")
    if (syn && ack == "-") {
        if (state[me] == "") state[me] = state[peer] = "SYN-RECEIVED" # both open at once
    } else if (syn) {
        if (state[peer] ~ /^SYN|^[?]/) state[peer] = "ESTABLISHED"
        if (state[me] ~ /^$|^[?]|^CLOSED/) state[me] = "SYN-RECEIVED"
    } else {
        if (state[peer] == "SYN-RECEIVED") state[peer] = "ESTABLISHED"
        # of an end that sends this, the peer's part was not recorded
        if (state[me] == "SYN-SENT" || state[me] == "SYN-RECEIVED" && len) state[me] = "ESTABLISHED"
        if (state[me] == "?" && len) state[me] = state[peer] = "ESTABLISHED"
        before = state[peer]
        if (peer in fin_end && before in fin_is_acked && minus(ack, fin_end[peer]) >= 0)
            state[peer] = fin_is_acked[before]
        if (fin && !(me in fin_end)) finish(end, before)
    }
}
# Has ME sent before what ends at END? It has not if this fills the hole that an earlier packet left.
function repeated(end) {
    if (!(me in next_seq) || minus(end, next_seq[me]) > 0) {
        if (me in next_seq && minus(seq, next_seq[me]) > 0) { hole[me] = next_seq[me]; hole_end[me] = seq }
        next_seq[me] = end
        return 0
    }
    if (!(me in hole) || minus(seq, hole[me]) < 0 || minus(end, hole_end[me]) > 0) return 1
    hole[me] = end
    return 0
}
function finish(end, before) { # ME sends its FIN; BEFORE this packet, that was the peer's state
    fin_end[me] = end; fin_row[me] = rows + 1
    if (state[me] in sends_fin) state[me] = sends_fin[state[me]]
    if (state[peer] in gets_fin) state[peer] = gets_fin[state[peer]]
    if (!(peer in fin_end)) who = reset_by ? who : name[me] " closed"
    else if (state[peer] == "FIN-WAIT-1") { # ME has not acknowledged the peer's FIN: it had not come
        who = "both closed"; how = "FIN both ways at once."
        state[me] = state[peer] = "CLOSING"; shown[fin_row[peer], me] = ""
    } else if (!reset_by) how = before == "FIN-WAIT-1" ? "FIN in three, ACK on FIN." : "FIN in four packets."
}
# A RST counts if it acknowledges the SYN, or is where the peer waits for bytes (RFC 9293, 3.10.7.3 and .4).
function believed(    ahead) {
    if (state[peer] == "SYN-SENT") return ack != "-" && minus(ack, next_seq[peer]) == 0
    if (!(me in next_seq) || !(peer in acked)) return 1 # who knows
    ahead = minus(seq, acked[peer])
    return ahead == 0 || ahead > 0 && minus(seq, next_seq[me]) <= 0
}
function reset() {
    if (reset_by == peer && !settled) { settled = 1; who = "both reset it"; how = "RST both ways." }
    else if (!reset_by && !over() && state[me] != "SYN-SENT") {
        reset_by = me; reset_at = at; reset_row = rows + 1; unreset = state[peer]
        who = name[me] (unreset == "SYN-SENT" ? " refused it" : " reset it")
        how = unreset == "SYN-SENT" ? "RST to the SYN." : "C" in fin_end || "S" in fin_end ? "RST after FIN." : \
            whole ? "RST, no FIN." : "RST."
    }
    if (state[me] != "SYN-SENT") state[me] = "CLOSED" # else it answers a packet of an older connection
    state[peer] = "CLOSED"
}
function missed(what) { # ME sends WHAT after a RST to it: so the RST has not come, or not yet
    lost[reset_row] = at - reset_at >= 0.2
    settled = 1
    how = "RST " (lost[reset_row] ? "lost, " : "crossed, ") what " met RST."
    state[me] = drawn[me] = shown[reset_row, me] = unreset
}

function verdict(    i, packets, c, s, text) {
    for (i = 1; i <= rows; i++) draw(i)
    packets = count " packet" (count > 1 ? "s" : ""); c = state["C"]; s = state["S"]
    if (itself) text = "one end, connected to itself, " packets ": no states."
    else if (over()) {
        text = who (whole ? " after " packets : ", beginning missing") ": " how " TIME-WAIT: "
        text = text (c == s ? c == "CLOSED" ? "nobody" : "both" : c == "CLOSED" ? "server" : "client") "."
    } else {
        text = whole ? "end missing after " packets ": " : "beginning and end missing: "
        if (c == "CLOSED" || s == "CLOSED") text = text "half-open, "
        text = text "client " c ", server " (s == "" ? "silent" : s) "."
    }
    if (!whole || !over()) unfinished = 1
    if (only_verdict) print count, title, text
    else if (mermaid) print "    Note over C,S: " text "\n```"
    else print (length(text) > 78 ? "" : "  ") text
}
function complaint(packets, message) { # what is wrong with the recording, and the way out
    if (message ~ /file header bytes, only got 0$/)
        return "empty file (tcpdump -w and scripts/capture.sh write recordings)"
    if (message ~ /^unknown file format/) return "not a recording (tcpdump -w and scripts/capture.sh write some)"
    if (message ~ /^truncated/) return message " (stop the recorder before its file is read)"
    if (message) return message " (tcpdump -r says so)"
    if (!conversations) return "no " (packets ? "TCP" : "packets") " in this recording (scripts/capture.sh records some)"
    return ""
}

# ---- drawing: a row is drawn at once until there is a FIN or RST; from there on they wait for the end
function row(t, way, text,    e) {
    when[++rows] = t; kind[rows] = way; text_of[rows] = text; lost[rows] = 0
    for (e in name) {
        shown[rows, e] = way ~ /[<>]/ && state[e] != drawn[e] ? state[e] : ""
        if (way ~ /[<>]/) drawn[e] = state[e]
    }
    if (!keep) draw(rows--)
}
function draw(i,    way, text, left, right, gap, n) {
    if (only_verdict) return
    way = kind[i]; text = text_of[i]; left = shown[i, "C"]; right = shown[i, "S"]
    if (times && when[i] - latest >= 1) {
        gap = sprintf("%.1f s", when[i] - latest)
        if (mermaid) print "    Note over C,S: " gap
        else print "   " GAP blanks[19] V blanks[10] gap blanks[16 - length(gap)] V
    }
    latest = when[i]
    if (mermaid) { draw_mermaid(i, way, text, left, right); return }
    n = length(text)
    if (times) printf "%s  ", substr(sprintf("%.6f", when[i]), 1, 8)
    if (way == "server") print blanks[13] V blanks[26] V "  " text
    else if (way == "client") print text (n > 12 ? blanks[40 - n] : blanks[13 - n] V blanks[26]) V
    else {
        if (way == ">") text = L H H " " text " " dashes[21 - n] (lost[i] ? X : TO) V
        else text = V (lost[i] ? X : FROM) dashes[21 - n] " " text " " H H R
        print left blanks[13 - length(left)] text (right == "" ? "" : "  " right)
    }
}
function draw_mermaid(i, way, text, left, right) {
    gsub(/;/, "\001", text); gsub(/#/, "#35;", text); gsub(/</, "#60;", text); gsub(/\001/, "#59;", text)
    if (way == "client") left = text
    else if (way == "server") right = text
    else print "    " (way == ">" ? "C" : "S") (lost[i] ? "-x" : "->>") (way == ">" ? "S: " : "C: ") text
    if (left != "") print "    Note left of C: " left
    if (right != "") print "    Note right of S: " right
}
function header(client, server,    local, bar, left, right) {
    title = server ~ /^(127[.]0[.]0[.]1|::1)[.]808[123]$/ ? "sample" substr(server, length(server)) \
        : "tcp " conversations
    local = client ~ /^127[.]0[.]0[.]1[.]/ && server ~ /^127[.]0[.]0[.]1[.]/
    left = "client" address(client, local, times); right = "server" address(server, local, 1)
    bar = times ? 50 : 40 # the characters before the right one
    if (only_verdict) return
    if (mermaid) {
        print "```mermaid\nsequenceDiagram"
        print "    participant C as " title " " left "\n    participant S as " right
        return
    }
    if (conversations > 1) print ""
    left = sprintf("%-9s %s", title, left)
    if (length(left) > bar || length(right) > 80 - bar) printf "%s\n%80s\n", left, right # long addresses
    else printf "%-" bar "s%s\n", left, right
    if (times) print " seconds"
}
function address(end, local, with_port,    host) {
    host = end
    sub(/[.][0-9]+$/, "", host)
    end = with_port ? ":" substr(end, length(host) + 2) : ""
    if (local) return end == "" ? "" : " " end
    return " " (index(host, ":") ? "[" host "]" : host) end
}
