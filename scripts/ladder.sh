#!/bin/sh
# Draws each TCP conversation of a recording as a ladder: client left, server right, a line a packet,
# each end's state in RFC 9293's words, and a verdict: who ended it, how, and who keeps TIME-WAIT.
# usage: scripts/ladder.sh [--no-time] [--mermaid] FILE.pcap...|- [FILE.log...]
#   -          reads the recording from stdin and draws packets as they come
#   FILE.log   lines of the samples' programs, drawn as calls beside the packets; for X.pcap those
#              in X.server.log, X.client.log and X.sampleN.*.log are found without being named
#   --no-time  leave out what differs from run to run: times, the client's port, calls
#   --mermaid  a Mermaid sequenceDiagram for a Markdown page instead
# tcpdump decodes, $AWK (else mawk or awk) draws. Exit status: 1 if a FILE is no whole recording, 2 usage.
set -eu
usage='usage: scripts/ladder.sh [--no-time] [--mermaid] FILE.pcap...|- [FILE.log...]'
PATH=$PATH:/usr/sbin

say() { printf 'ladder.sh: %s\n' "$*" >&2; }
bad_usage() { say "$1 ($usage)"; exit 2; }

times=1 mermaid='' files=0
for word in "$@"; do # the files go to the end of the list, the options out of it
    shift
    case $word in
    --no-time) times=''; continue ;;
    --mermaid) mermaid=1; continue ;;
    -h | --help) printf '%s\n' "$usage"; exit 0 ;;
    -) files=$((files + 1)) ;;
    '' | -*) bad_usage "'$word': unknown option" ;;
    *.log) [ -r "$word" ] || bad_usage "$word: no log that can be read" ;;
    *) files=$((files + 1)) ;;
    esac
    set -- "$@" "$word"
done
[ "$files" -gt 0 ] || bad_usage 'no recording'
command -v tcpdump >/dev/null || { say 'tcpdump: not found (sudo apt-get install tcpdump)'; exit 1; }

case ${LC_ALL:-${LC_CTYPE:-${LANG:-}}} in
*[Uu][Tt][Ff]-8* | *[Uu][Tt][Ff]8*) art='│ ├ ┤ ─ ▶ ◀ ✗ ⋮' ;;
*) art='| | | - > < x :' ;;
esac
colour=''
[ ! -t 1 ] || [ -n "${NO_COLOR:-}" ] || [ "${TERM:-dumb}" = dumb ] || [ -n "$mermaid" ] || colour=1
awk=${AWK:-$(command -v mawk || echo awk)} # the fastest
unbuffered='' # of itself, mawk would wait for a full block from a pipe
case $("$awk" -W version 2>&1 </dev/null) in mawk*) unbuffered='-W interactive' ;; esac

# ---- the drawing: first the programs' lines, then tcpdump's --------------------------------------
# A conversation has a number, its id; its ends are 2 * id, the client, and 2 * id + 1, the server.
# shellcheck disable=SC2016 # for awk to expand
ladder='
BEGIN {
    split(art, a, " "); V = a[1]; L = a[2]; R = a[3]; H = a[4]; TO = a[5]; FROM = a[6]; X = a[7]; GAP = a[8]
    flags_known = split("S SYN F FIN R RST P PSH U URG E ECE W CWR e AE . ACK", flag, " ")
    for (i = 1; i <= 40; i++) { dashes[i] = dashes[i - 1] H; blanks[i] = blanks[i - 1] " " }
    bar = times ? 50 : 40 # characters before the right one
    lowest = 1
}

# A program names its connection at accept or connect; its lines from there on are a block.
!packets {
    if (FNR == 1) block = listener = ""
    if ($1 !~ /^[0-9][0-9]:[0-9][0-9]:[0-9][0-9]\.[0-9]+$/) next
    text = $0
    sub(/^[^ ]+ [^ ]+ /, "", text)
    gsub(/[^ -~]/, ".", text) # nothing in a log steers the terminal
    if ($3 == "listen") listener = dotted($4)
    key = ""
    if ($3 == "accept") key = "server" SUBSEP dotted($4) SUBSEP listener
    if ($3 == "connect" && $5 == "from") key = "client" SUBSEP dotted($6) SUBSEP dotted($4)
    if (key) { text = $3; waiting[key] = waiting[key] " " (block = ++blocks) }
    if (!block) next
    if (length(text) > 27) sub(/ \(.*|, .*/, "", text)
    i = ++block_lines[block]
    log_time[block, i] = substr($1, 1, 2) * 3600 + substr($1, 4, 2) * 60 + substr($1, 7)
    log_text[block, i] = substr(text, 1, 27)
    next
}

# The bytes of a packet are in lines of 16 after it, which begin with a tab.
/^\t/ {
    if (!pending) next
    if (++hex_lines == 1) ip_length = substr($0, 11, 1) == 4 ? number(substr($0, 16, 4)) : 40 + number(substr($0, 21, 4))
    if (16 * hex_lines > ip_length - len) hex = hex substr($0, 11)
    if (16 * hex_lines < ip_length) next
    gsub(/ /, "", hex)
    packet(printable(substr(hex, (ip_length - len) % 16 * 2 + 1, 2 * len)))
    next
}
{
    if (pending) packet("")
    frames = 1
    for (i = 4; $i != ">" || $(i + 2) != "Flags"; i++) # some link types put words in front
        if (i >= NF) next
    now = $1; from = $(i - 1); to = $(i + 1); flags = $(i + 3); seq = len = 0
    if ($(i + 4) == "seq") {
        seq = $(i + 5); i += 2
        if (colon = index(seq, ":")) len = minus(substr(seq, colon + 1) + 0, seq + 0)
        seq += 0
    }
    ack = $(i + 4) == "ack" ? $(i + 5) + 0 : -1
    if (len > 0 && len <= 8) { pending = 1; hex = ""; hex_lines = 0 } # short enough to be shown
    else packet("")
}
END {
    if (pending) packet("")
    for (id = 1; id <= conversations; id++) if (id in open) finish(id)
    exit conversations ? 0 : frames ? 3 : 4
}

function minus(a, b) { # sequence numbers go round at 2^32
    a -= b
    return a > 2147483648 ? a - 4294967296 : a < -2147483648 ? a + 4294967296 : a
}
function dotted(address) { # 127.0.0.1:80 as tcpdump writes it
    match(address, /:[0-9]+$/)
    return substr(address, 1, RSTART - 1) "." substr(address, RSTART + 1)
}
function number(digits,    i, n) { # of hexadecimal digits
    for (i = 1; i <= length(digits); i++) n = 16 * n + index("123456789abcdef", substr(digits, i, 1))
    return n
}
function printable(digits,    i, code, text) { # the bytes as text, if all of them are ASCII
    if (digits in texts) return texts[digits]
    for (i = 1; i < length(digits); i += 2) {
        code = number(substr(digits, i, 2))
        if (code < 32 || code > 126) return ""
        text = text sprintf("%c", code)
    }
    if (++texts_kept % 1000 == 0) split("", texts)
    return texts[digits] = " \"" text "\""
}

# A conversation begins: with a SYN, which says who is client, or in the middle: then the port does.
function begin(syn,    id, e, peer, client, server) {
    id = ++conversations; open[id] = 1; start[id] = now; latest[id] = 0
    peer = substr(to, 1, length(to) - 1)
    e = 2 * id + (syn ? ack >= 0 : port(from) < port(peer))
    client = e % 2 ? peer : from; server = e % 2 ? from : peer
    key1[id] = from SUBSEP to; key2[id] = peer SUBSEP from ":"
    end_of[key1[id]] = e; end_of[key2[id]] = e % 2 ? e - 1 : e + 1
    if (!syn || ack >= 0) beginless[id] = 1
    state[2 * id] = syn ? "SYN-SENT" : "?"; state[2 * id + 1] = syn ? "" : "?"
    head[id] = header(id, client, server)
    if (blocks) { take_calls(id, "client", client, server); take_calls(id, "server", client, server) }
    return e
}
function port(end) { sub(/.*\./, "", end); return end + 0 }
function header(id, client, server,    title, same) {
    title = server ~ /^(127\.0\.0\.1|::1)\.808[123]$/ ? "sample" substr(server, length(server)) : "tcp " id
    same = server ~ /^127\.0\.0\.1\./ && client ~ /^127\.0\.0\.1\./
    client = "client" address(client, same, times); server = "server" address(server, same, 1)
    if (mermaid)
        return "```mermaid\nsequenceDiagram\n    participant C as " title " " client "\n    participant S as " server
    if (length(client) > bar - 11 || length(server) > 80 - bar) # long IPv6 addresses
        return sprintf("%-9s %s\n%80s", title, client, server) (times ? "\n seconds" : "")
    return sprintf("%-9s %s", title, client) substr(blanks[40], length(client) + 51 - bar) server (times ? "\n seconds" : "")
}
function address(end, same, with_port,    host) {
    host = end
    sub(/\.[0-9]+$/, "", host)
    host = same ? "" : index(host, ":") ? "[" host "]" : host
    return same && !with_port ? "" : " " host (with_port ? ":" port(end) : "")
}

# One packet: whose it is, what it does to the states, and its line.
function packet(text,    key, e, o, d, id, syn, fin, rst, end, again, before, s, l, r, label, old) {
    pending = 0
    syn = index(flags, "S") > 0; fin = index(flags, "F") > 0; rst = index(flags, "R")
    key = from SUBSEP to
    if (e = end_of[key]) {
        d = e % 2; id = (e - d) / 2; o = d ? e - 1 : e + 1
        # another SYN is another conversation, unless it is a repeated one or the peer opens as well
        if (syn && ack < 0 && (e in isn ? isn[e] != seq || id in done : state[o] != "SYN-SENT")) {
            if (stream && id in open) { finish(id); forget(id) }
            e = 0
        }
    }
    if (!e) { e = begin(syn); d = e % 2; id = (e - d) / 2; o = d ? e - 1 : e + 1 }
    at = now - start[id]
    if (blocks) draw_calls(id, at)
    count[id]++
    if (len || syn || fin) {
        end = seq + len + syn + fin
        if (e in next_seq && minus(end, next_seq[e]) <= 0) again = " again"
        else next_seq[e] = end
    }
    if (rst) {
        if (!(id in done) && !(id in reset_by)) {
            reset_by[id] = d; reset_at[id] = at; unreset[id] = state[o]
            who[id] = role(d) (d && state[o] == "SYN-SENT" ? " refused it" : " reset it")
            how[id] = d && state[o] == "SYN-SENT" ? "RST to the SYN." : e in fin_end || o in fin_end ? "RST after FIN." : \
                id in beginless ? "RST." : "RST, no FIN."
        } else if (id in reset_by && reset_by[id] != d && !(id in settled)) {
            settled[id] = 1; who[id] = "both reset it"; how[id] = "RST both ways."
        }
        state[e] = state[o] = "CLOSED"
    } else {
        if (id in reset_by && reset_by[id] != d && !(id in settled)) miss(id, e, fin ? "FIN" : len ? "data" : "ACK")
        if (syn && ack < 0) {
            isn[e] = seq
            if (state[o] == "SYN-SENT") state[e] = state[o] = "SYN-RECEIVED" # both open
        } else if (syn) {
            if (state[o] ~ /^SYN/) state[o] = "ESTABLISHED"
            if (state[e] == "") state[e] = "SYN-RECEIVED"
        } else {
            if (state[o] == "SYN-RECEIVED") state[o] = "ESTABLISHED"
            if (len && state[e] == "?") state[e] = state[o] = "ESTABLISHED"
            before = o in fin_acked
            if (o in fin_end && !before && minus(ack, fin_end[o]) >= 0) {
                fin_acked[o] = 1
                s = state[o]
                if (s == "FIN-WAIT-1") state[o] = "FIN-WAIT-2"
                else if (s == "CLOSING") state[o] = "TIME-WAIT"
                else if (s == "LAST-ACK") state[o] = "CLOSED"
            }
            if (fin && !(e in fin_end) && state[e] != "CLOSED") {
                fin_end[e] = end
                if (!(o in fin_end)) {
                    if (!(id in reset_by)) who[id] = role(d) " closed"
                    state[e] = "FIN-WAIT-1"
                    if (state[o] != "CLOSED") state[o] = "CLOSE-WAIT"
                } else if (o in fin_acked) {
                    how[id] = before ? "FIN in four packets." : "FIN in three, ACK on FIN."
                    state[e] = "LAST-ACK"
                    if (state[o] != "CLOSED") state[o] = "TIME-WAIT"
                } else { # it was sent before the other one came
                    who[id] = "both closed"; how[id] = "FIN both ways at once."
                    state[e] = state[o] = "CLOSING"
                    redraw(id, d, "", 0)
                }
            }
        }
    }
    l = r = ""
    s = state[2 * id]; if (s != drawn[2 * id]) l = drawn[2 * id] = s
    s = state[2 * id + 1]; if (s != drawn[2 * id + 1]) r = drawn[2 * id + 1] = s
    label = (flags in labels ? labels[flags] : words(flags)) (len ? text ? text : " " len " bytes" : "") again
    if (length(label) > 21) sub(/bytes/, "B", label)
    if (length(label) > 21) sub(/PSH, /, "", label)
    label = substr(label, 1, 21)
    put(id, at, rung(at, d, label, l, r, 0))
    if (fin || rst) { # what comes later may tell more about this one
        mark[id] = line_count; mark_is[id] = at SUBSEP d SUBSEP label SUBSEP l SUBSEP r
    }
    l = state[2 * id]; r = state[2 * id + 1]
    if ((r == "CLOSED" || r == "TIME-WAIT") && (l == "CLOSED" || l == "TIME-WAIT") && !(id in done)) {
        done[id] = 1
        if (stream) finish(id)
        # late packets can tell more about the latest that ended; the others are drawn and forgotten
        old = recent[turn = (turn + 1) % 256]; recent[turn] = id
        if (old in done) {
            if (old in open) finish(old)
            forget(old)
        }
    }
}
function role(d) { return d % 2 ? "server" : "client" }
# The end e sends WHAT after a RST to it: so the RST has not arrived, or not yet.
function miss(id, e, what,    lost) {
    lost = at - reset_at[id] >= 0.2
    settled[id] = 1
    how[id] = "RST " (lost ? "lost, " : "crossed, ") what " met RST."
    state[e] = drawn[e] = unreset[id]
    delete done[id]
    if (!redraw(id, e % 2, state[e], lost)) {
        open[id] = 1
        put(id, at, "  the RST " (lost ? "was lost: " : "had not come: ") role(e) " was still " state[e])
    }
}
# The line of the latest FIN or RST, with another state at its receiver; not if it is on the screen.
function redraw(id, d, s, lost,    a) {
    if (!(mark[id] in line)) return 0
    split(mark_is[id], a, SUBSEP)
    line[mark[id]] = rung(a[1], a[2], a[3], d ? a[4] : s, d ? s : a[5], lost)
    return 1
}

function verdict(id,    c, s, n) {
    c = state[2 * id]; s = state[2 * id + 1]; n = count[id] " packet" (count[id] > 1 ? "s" : "")
    if (!(id in done))
        return (id in beginless ? "beginning and end missing: " : "end missing after " n ": ") \
            ((c == "CLOSED") != (s == "CLOSED") ? "half-open, " : "") "client " c ", server " (s == "" ? "silent" : s) "."
    return who[id] (id in beginless ? ", beginning missing: " : " after " n ": ") how[id] " TIME-WAIT: " \
        (c == "TIME-WAIT" ? s == c ? "both" : "client" : s == "TIME-WAIT" ? "server" : "nobody") "."
}

# Logs have local time without a zone. So the first call of a block is set beside the packets by its
# quarter of an hour, which is the same in every zone, and the others beside the first.
function take_calls(id, side, client, server,    list, n, k, b, i, j, first, when) {
    n = split(waiting[side, client, server], list, " ")
    for (k = 1; k <= n; k++) {
        b = list[k]
        first = (log_time[b, 1] - start[id] % 900 + 86401) % 900 - 1 # it may seem a little early
        if (b in taken || first > 60) continue # of another connection from the same port
        taken[b] = 1
        for (i = 1; i <= block_lines[b]; i++) {
            when = first + (log_time[b, i] - log_time[b, 1] + 86400) % 86400 # midnight may lie between
            for (j = ++calls[id]; j > 1 && call_at[id, j - 1] > when; j--) {
                call_at[id, j] = call_at[id, j - 1]; call[id, j] = call[id, j - 1]
            }
            call_at[id, j] = when; call[id, j] = side log_text[b, i]
        }
        return
    }
}
function draw_calls(id, before,    i, t, side, text) {
    while (calls_drawn[id] < calls[id] && (t = call_at[id, calls_drawn[id] + 1]) < before) {
        i = ++calls_drawn[id]
        side = substr(call[id, i], 1, 6)
        text = substr(call[id, i], 7)
        delete call_at[id, i]; delete call[id, i]
        if (mermaid) text = "    Note " (side == "client" ? "left of C: " : "right of S: ") escape(text)
        else if (side == "server") text = stamp(t) blanks[13] V blanks[26] V "  " text
        else text = stamp(t) text (length(text) > 12 ? blanks[40 - length(text)] : blanks[13 - length(text)] V blanks[26]) V
        put(id, t, text)
    }
}

# ---- lines
function stamp(t) { return times ? substr(sprintf("%.6f", t), 1, 8) "  " : "" }
function rung(t, d, label, l, r, lost,    key, n, text) {
    key = label SUBSEP l SUBSEP r d lost
    if (!(key in rungs)) {
        if (++rungs_kept % 1000 == 0) split("", rungs)
        n = 21 - length(label)
        text = colour && label ~ /RST|FIN/ ? "\033[1;" (label ~ /RST/ ? 31 : 33) "m" label "\033[0m" : label
        rungs[key] = l blanks[13 - length(l)] \
            (d ? V (lost ? X : FROM) dashes[n] " " text " " H H R : L H H " " text " " dashes[n] (lost ? X : TO) V) \
            (r == "" ? "" : "  " r)
        if (mermaid)
            rungs[key] = "    " (d ? "S" : "C") (lost ? "-x" : "->>") (d ? "C: " : "S: ") escape(label) \
                (l == "" ? "" : "\n    Note left of C: " l) (r == "" ? "" : "\n    Note right of S: " r)
    }
    return mermaid ? rungs[key] : stamp(t) rungs[key]
}
function words(flags,    i, all) { # [S.], to SYN, ACK
    for (i = 1; i < flags_known; i += 2) if (index(flags, flag[i])) all = all ", " flag[i + 1]
    return labels[flags] = all == "" || flags ~ /none/ ? "no flags" : substr(all, 3)
}
function escape(text,    i, c, all) { # what Mermaid would not take as text
    for (i = 1; i <= length(text); i++) {
        c = substr(text, i, 1)
        all = all (c == "#" ? "#35;" : c == ";" ? "#59;" : c == "<" ? "#60;" : c)
    }
    return all
}

# ---- the screen: a file gets its conversations in their order at the end; of a stream one is live,
# the others wait until it ends, or interrupt it when they end
function put(id, t, text,    gap) {
    if (times && t - latest[id] >= 1) {
        gap = sprintf("%.1f s", t - latest[id])
        text = (mermaid ? "    Note over C,S: " gap \
            : "   " GAP blanks[19] V blanks[10] gap blanks[16 - length(gap)] V) "\n" text
    }
    latest[id] = t
    if (stream && (!live || live == id || !(id in open))) {
        if (id in open) live = id
        take_screen(id)
        print text
        fflush()
        return
    }
    line[++line_count] = text
    previous[line_count] = last[id]
    last[id] = line_count
}
function take_screen(id,    n, k, lines) {
    if (screen != id) {
        if (screen) print ""
        screen = id
        if (id in seen) sub(/\n.*|$/, "\n (continued)", head[id])
        print head[id]
        seen[id] = 1
    }
    for (n = last[id]; n; n = previous[n]) lines[++k] = n
    for (n = k; n; n--) {
        print line[lines[n]]
        delete line[lines[n]]; delete previous[lines[n]]
    }
    last[id] = 0
}
function finish(id,    text) {
    if (blocks) draw_calls(id, 1e9)
    take_screen(id)
    text = verdict(id)
    if (mermaid) print "    Note over C,S: " text "\n```"
    else print (length(text) > 78 ? "" : "  ") (colour ? "\033[1m" text "\033[0m" : text)
    delete open[id]
    if (!stream) return
    if (live == id) live = 0
    while (lowest <= conversations && !(lowest in open)) lowest++
    if (!live && lowest in open) take_screen(live = lowest)
    fflush()
}
function forget(id,    e) {
    for (e = 2 * id; e <= 2 * id + 1; e++) {
        if (key1[id] in end_of && end_of[key1[id]] == e) { delete end_of[key1[id]]; delete end_of[key2[id]] }
        delete state[e]; delete drawn[e]; delete isn[e]; delete next_seq[e]; delete fin_end[e]; delete fin_acked[e]
    }
    delete key1[id]; delete key2[id]; delete start[id]; delete latest[id]; delete count[id]; delete beginless[id]
    delete head[id]; delete seen[id]; delete done[id]; delete who[id]; delete how[id]; delete calls[id]; delete calls_drawn[id]
    delete reset_by[id]; delete reset_at[id]; delete unreset[id]; delete settled[id]; delete mark[id]; delete mark_is[id]
    delete last[id]
}
'

# Draws one recording, FILE or -, with the programs' LOGs beside it; says what is wrong with it.
draw() {
    file=$1 stream='' lines=''
    shift
    if [ "$file" = - ]; then
        [ ! -t 0 ] || { say '-: stdin is a terminal (pipe a recording into it)'; return 1; }
        [ -n "$mermaid" ] || { stream=1 lines=-l; trap : INT; }
    else
        [ -e "$file" ] || { say "$file: no such file (scripts/capture.sh records one)"; return 1; }
        [ ! -d "$file" ] || { say "$file: a directory (name the recordings in it)"; return 1; }
        [ -r "$file" ] || { say "$file: may not be read by you (ls -l $file)"; return 1; }
        exec <"$file"
        for log in "${file%.pcap}".server.log "${file%.pcap}".client.log "${file%.pcap}".sample[123].*.log; do
            [ ! -f "$log" ] || [ ! -r "$log" ] || set -- "$@" "$log"
        done
    fi
    [ -n "$times" ] || set --
    for log in "$@"; do # awk would take a name with = in it for an assignment, but for the ./
        shift
        case $log in *.log) ;; *) continue ;; esac
        case $log in /*) set -- "$@" "$log" ;; *) set -- "$@" "./$log" ;; esac
    done
    # tcpdump's stderr (3) goes to $why, the drawing (4) to stdout. On Ctrl-C what came is still drawn.
    [ -n "$stream" ] || unbuffered=''
    # shellcheck disable=SC2086 # options or nothing
    {
        why=$({
            { tcpdump -nn -tt -S -x $lines -r - 2>&3 || echo "tcpdump failed" >&3; } | {
                [ -z "$stream" ] || trap '' INT
                LC_ALL=C "$awk" $unbuffered -v art="$art" -v times="$times" -v mermaid="$mermaid" \
                    -v colour="$colour" -v stream="$stream" "$ladder" "$@" packets=1 - >&4 3>&-
            }
        } 3>&1) && status=0 || status=$?
    } 4>&1
    [ "$status" -lt 128 ] || exit "$status" # nobody reads any more
    case $why in
    *'tcpdump failed'*)
        why=$(printf '%s\n' "$why" | sed '/^reading from/d; /^dropped privs/d; /^tcpdump failed/d; s/^tcpdump: //; s/^pcap_loop: //' | tail -n 1)
        case $why in
        *'only got 0') why='empty file (tcpdump -w and scripts/capture.sh write recordings)' ;;
        'unknown file format') why='not a recording (tcpdump -w and scripts/capture.sh write some)' ;;
        *truncated*) why="$why (stop the recorder before its file is read)" ;;
        *) why="$why (tcpdump -r says so)" ;;
        esac ;;
    *)
        why=''
        case $status in
        0) return ;;
        3) why='no TCP in this recording (scripts/capture.sh records some)' ;;
        4) why='no packets in this recording (scripts/capture.sh records some)' ;;
        *) why="$awk failed" ;;
        esac ;;
    esac
    say "$file: $why"
    return 1
}

result=0 screen=''
for word in "$@"; do
    case $word in *.log) continue ;; esac
    [ -z "$screen" ] || [ -n "$mermaid" ] || echo
    screen=$word
    [ "$files" -eq 1 ] || [ -n "$mermaid" ] || printf '%s:\n' "$word"
    draw "$word" "$@" || result=1
done
exit "$result"
