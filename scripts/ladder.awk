# Last step of ladder.sh: reads what packets.awk wrote (see its head), sorted, and draws. Variables: art, the
# characters to draw with; times, mermaid, only_verdict: 1 or empty; $file of the environment is for messages.
# Exit status: 1 the recording is not whole or holds no TCP, 3 some conversation is not whole (only_verdict).
BEGIN {
    # RFC 9293, figure 5, from the first FIN on: FROM TO FROM TO ...; ? if no beginning was recorded
    map(sends_fin, "? FIN-WAIT-1 SYN-RECEIVED FIN-WAIT-1 ESTABLISHED FIN-WAIT-1 CLOSE-WAIT LAST-ACK")
    map(gets_fin, "? CLOSE-WAIT SYN-RECEIVED CLOSE-WAIT ESTABLISHED CLOSE-WAIT")
    map(gets_fin, "FIN-WAIT-1 CLOSING FIN-WAIT-2 TIME-WAIT")
    map(fin_is_acked, "FIN-WAIT-1 FIN-WAIT-2 CLOSING TIME-WAIT LAST-ACK CLOSED")
    map(name, "C client S server") # the two ends: state["C"] is the client's
    flags_known = split("S SYN F FIN R RST P PSH U URG E ECE W CWR e AE . ACK", flag, " ")
    split(art, a, " "); V = a[1]; L = a[2]; R = a[3]; H = a[4]; TO = a[5]; FROM = a[6]; X = a[7]; GAP = a[8]
    for (i = status = 1; i <= 40; i++) { dashes[i] = dashes[i - 1] H; blanks[i] = blanks[i - 1] " " }
}
function map(to, list,    i, a) { for (i = split(list, a, " "); i > 0; i -= 2) to[a[i - 1]] = a[i] }
$3 == "begin" {
    if (conversations++) verdict()
    start = $4; whole = $7; itself = $5 == $6
    header($5, $6)
    rows = keep = latest = count = 0; who = how = reset_by = settled = ""
    split("", next_seq); split("", sent); split("", acked); split("", fin_end)
    drawn["C"] = drawn["S"] = "silent" # is not drawn
    state["S"] = whole || itself ? "silent" : "?"; state["C"] = itself ? "silent" : whole ? "SYN-SENT" : "?"
}
$3 == "end" {
    if (conversations) verdict()
    status = NF > 3 ? 1 : only_verdict && unfinished ? 3 : 0
    if (NF > 3) print "ladder.sh: " ENVIRON["file"] ": " substr($0, index($0, "end ") + 4) >"/dev/stderr"
}
times && ($3 == "client" || $3 == "server") { row($2 - start, $3, substr($0, index($0, $3) + 7)) }
$3 ~ /^[<>]$/ {
    me = $3 == ">" ? "C" : "S"; peer = $3 == ">" ? "S" : "C"
    at = $4 - start; flags = $5; seq = $6; ack = $7; len = $8; note = ""; count++
    if (!itself) packet(flags ~ /S/, flags ~ /F/, flags ~ /R/)
    text = words() (NF > 8 ? substr($0, index($0, " \"")) : len ? " " len " bytes" : "") note
    if (length(text) > 21) { sub(/bytes/, "B", text); if (length(text) > 21) sub(/PSH, /, "", text) }
    row(at, $3, substr(text, 1, 21))
}
END { exit status }
function words(    i, all) { # S. is SYN, ACK
    if (flags in words_of) return words_of[flags]
    for (i = 1; i < flags_known; i += 2) if (index(flags, flag[i])) all = all ", " flag[i + 1]
    return words_of[flags] = flags ~ /none/ ? "no flags" : substr(all, 3)
}
function minus(a, b) { return (a - b + 6442450944) % 4294967296 - 2147483648 } # numbers go round at 2^32
function over() { return state["C"] ~ /^(CLOSED|TIME-WAIT)$/ && state["S"] ~ /^(CLOSED|TIME-WAIT)$/ }
# What a packet that ME sends does to both states.
function packet(syn, fin, rst,    end, before) {
    if (fin || rst) keep = 1 # what comes later may tell more about this packet
    end = seq + len + syn + fin
    if (end > seq && (!(me in next_seq) || minus(end, next_seq[me]) > 0)) next_seq[me] = end
    else if (end > seq && (me, seq) in sent) note = " again" # else it is only out of order
    if (end > seq) sent[me, seq] = 1
    if (rst) { if (believed()) reset(); else note = " ignored"; return }
    if (ack != "-") acked[me] = ack
    if (reset_by == peer && !settled && !syn) missed(fin ? "FIN" : len ? "data" : "ACK")
    if (syn && ack == "-") {
        if (state[me] == "silent") state[me] = state[peer] = "SYN-RECEIVED" # both open at once
        if (state[me] == "CLOSED") { state[me] = "SYN-SENT"; reset_by = "" } # it tries again
    } else if (syn) {
        if (state[peer] ~ /^SYN|^[?]/) state[peer] = "ESTABLISHED"
        if (state[me] ~ /silent|[?]|CLOSED/) state[me] = "SYN-RECEIVED"
    } else {
        if (state[peer] == "SYN-RECEIVED") state[peer] = "ESTABLISHED"
        # an end that sends this has seen what was not recorded
        if (state[me] == "SYN-SENT" || state[me] == "SYN-RECEIVED" && len) state[me] = "ESTABLISHED"
        if (state[me] == "?" && len) state[me] = state[peer] = "ESTABLISHED"
        before = state[peer]
        if (peer in fin_end && before in fin_is_acked && minus(ack, fin_end[peer]) >= 0)
            state[peer] = fin_is_acked[before]
        if (fin && !(me in fin_end)) finish(end, before)
    }
}
function finish(end, before) { # ME sends its FIN; BEFORE this packet, that was the peer's state
    fin_end[me] = end; fin_row[me] = rows + 1
    if (!reset_by && !(peer in fin_end)) who = name[me] " closed"
    else if (!reset_by) how = before == "FIN-WAIT-1" ? "FIN in three, ACK on FIN." : "FIN in four packets."
    if (peer in fin_end && state[peer] == "FIN-WAIT-1") { # unacknowledged: it had not yet come
        who = "both closed"; how = "FIN both ways at once."
        state[me] = "CLOSING"; shown[fin_row[peer], me] = ""
    } else if (state[me] in sends_fin) state[me] = sends_fin[state[me]]
    if (state[peer] in gets_fin) state[peer] = gets_fin[state[peer]]
}
# A RST counts if it acknowledges the SYN, or is where the peer waits for bytes (RFC 9293, 3.10.7.3 and .4).
function believed() {
    if (state[peer] == "SYN-SENT") return ack != "-" && minus(ack, next_seq[peer]) == 0
    if (!(me in next_seq) || !(peer in acked)) return 1 # who knows
    return seq == acked[peer] || minus(seq, acked[peer]) > 0 && minus(seq, next_seq[me]) <= 0
}
function reset() {
    if (reset_by == peer && !settled) { settled = 1; who = "both reset it"; how = "RST both ways." }
    else if (!reset_by && !over() && state[me] != "SYN-SENT") {
        reset_by = me; reset_at = at; reset_row = rows + 1; unreset = state[peer]
        who = name[me] (unreset == "SYN-SENT" ? " refused it" : " reset it")
        how = unreset == "SYN-SENT" ? "RST to the SYN." : whole ? "RST, no FIN." : "RST."
        if ("C" in fin_end || "S" in fin_end) how = "RST after FIN."
    }
    state[peer] = "CLOSED"
    if (state[me] != "SYN-SENT") state[me] = "CLOSED" # else it answers a packet of an older connection
}
function missed(what) { # ME sends WHAT after a RST to it: so the RST has not come, or not yet
    lost[reset_row] = at - reset_at >= 0.2; settled = 1
    how = "RST " (lost[reset_row] ? "lost, " : "crossed, ") what " met RST."
    state[me] = drawn[me] = shown[reset_row, me] = unreset
}

function verdict(    i, c, s, text) {
    for (i = 1; i <= rows; i++) draw(i)
    c = state["C"]; s = state["S"]; text = count " packet" (count > 1 ? "s" : "")
    if (itself) text = "one end, connected to itself, " text ": no states."
    else if (over()) {
        text = who (whole ? " after " text : ", beginning missing") ": " how " TIME-WAIT: "
        text = text (c != s ? c == "CLOSED" ? "server" : "client" : c == "CLOSED" ? "nobody" : "both") "."
    } else {
        text = (whole ? "end missing after " text : "beginning and end missing") ": "
        text = text (c == "CLOSED" || s == "CLOSED" ? "half-open, " : "") "client " c ", server " s "."
    }
    if (!whole || !over()) unfinished = 1
    if (only_verdict) print count, title, text
    else print mermaid ? "    Note over C,S: " text "\n```" : (length(text) > 78 ? "" : "  ") text
}
# ---- drawing: a row is drawn at once until there is a FIN or RST; from there on they wait for the end
function row(t, way, text,    e) {
    if (mermaid) { gsub(/;/, "\001", text); gsub(/#/, "#35;", text); gsub(/\001/, "#59;", text) }
    if (mermaid) gsub(/</, "#60;", text)
    when[++rows] = t; kind[rows] = way; text_of[rows] = text; lost[rows] = 0
    for (e in name) shown[rows, e] = way !~ /[<>]/ || state[e] == drawn[e] ? "" : (drawn[e] = state[e])
    if (!keep) draw(rows--)
}
function draw(i,    way, text, left, right, gap, arrow, rungs, width) {
    if (only_verdict) return
    way = kind[i]; text = text_of[i]
    left = way == "client" ? text : shown[i, "C"]; right = way == "server" ? text : shown[i, "S"]
    gap = times && when[i] - latest >= 1 ? sprintf("%.1f s", when[i] - latest) : ""; latest = when[i]
    if (mermaid) {
        if (gap) print "    Note over C,S: " gap
        arrow = lost[i] ? "-x" : "->>"
        if (way ~ /[<>]/) print "    " (way == ">" ? "C" arrow "S: " : "S" arrow "C: ") text
        if (left != "") print "    Note left of C: " left
        if (right != "") print "    Note right of S: " right
        return
    }
    if (gap) print "   " GAP blanks[19] V blanks[10] gap blanks[16 - length(gap)] V
    rungs = V blanks[26] V; width = 13
    if (length(left) >= width) { rungs = V; width = 40 } # a call that reaches over the left bar
    if (way == ">") rungs = L H H " " text " " dashes[21 - length(text)] (lost[i] ? X : TO) V
    if (way == "<") rungs = V (lost[i] ? X : FROM) dashes[21 - length(text)] " " text " " H H R
    if (times) printf "%s  ", substr(sprintf("%.6f", when[i]), 1, 8)
    print left blanks[width - length(left)] rungs (right == "" ? "" : "  " right)
}
function header(client, server,    left, right, width, format) {
    title = "tcp " conversations
    if (server ~ /^(127[.]0[.]0[.]1|::1)[.]808[123]$/) title = "sample" substr(server, length(server))
    left = "client " address(client); right = "server " address(server)
    if (!times) sub(/ ?:[0-9]+$/, "", left)
    width = times ? 39 : 29 # so that the server stands over its bar, if both fit
    format = "%-9s %-" width "s %s\n"
    if (length(left) > width || length(right) > 69 - width) format = "%-9s %s\n%80s\n"
    format = (conversations > 1 ? "\n" : "") format (times ? " seconds\n" : "")
    if (mermaid) format = "```mermaid\nsequenceDiagram\n    participant C as %s %s\n    participant S as %s\n"
    if (!only_verdict) printf format, title, left, right
}
function address(end,    port) { # of tcpdump's ::1.80 or 127.0.0.1.80
    port = end; sub(/.*[.]/, ":", port); sub(/[.][0-9]+$/, "", end)
    return (end == "127.0.0.1" ? "" : index(end, ":") ? "[" end "]" : end) port
}
