#!/bin/sh
# Draws each TCP conversation of a recording as a ladder: client left, server right, a line a packet,
# each end's state in RFC 9293's words, and a verdict: who ended it, how, and who keeps TIME-WAIT.
# usage: scripts/ladder.sh [--no-time] [--mermaid] FILE.pcap...|- [FILE.log...]
#   -          reads the recording from stdin and draws packets as they come
#   FILE.log   lines of the samples' programs, drawn as calls beside the packets; for X.pcap those
#              in X.server.log, X.client.log and X.sampleN.*.log are found without being named
#   --no-time  leave out what differs from run to run: times, the client's port, calls
#   --mermaid  a Mermaid sequenceDiagram for a Markdown page instead
# tcpdump decodes, $AWK (else awk) draws. Exit status: 1 if a FILE is no whole recording, 2 usage.
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
    *.log) [ -f "$word" ] && [ -r "$word" ] || bad_usage "$word: no log that can be read" ;;
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
awk=${AWK:-awk} unbuffered='' # mawk would wait for a full block from a pipe
case $("$awk" -W version 2>&1 </dev/null) in mawk*) unbuffered='-W interactive' ;; esac

# ---- the drawing: first the programs' lines, then tcpdump's --------------------------------------
# A conversation has a number, its id; its ends are 2 * id, the client, and 2 * id + 1, the server.
# shellcheck disable=SC2016 # for awk to expand
ladder='
BEGIN {
    split(art, a, " "); V = a[1]; L = a[2]; R = a[3]; H = a[4]; TO = a[5]; FROM = a[6]; X = a[7]; GAP = a[8]
    flags_known = split("S SYN F FIN R RST P PSH U URG E ECE W CWR e AE . ACK", flag, " ")
    for (i = 1; i <= 26; i++) { dashes[i] = dashes[i - 1] H; blanks[i] = blanks[i - 1] " " }
    low = 1
}

# A program names its connection at accept or connect; the lines from there on are a block.
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
    if (length(text) > 27) sub(/ \(.*/, "", text)
    i = ++lines[block]
    log_time[block, i] = substr($1, 1, 2) * 3600 + substr($1, 4, 2) * 60 + substr($1, 7)
    log_text[block, i] = substr(text, 1, 27)
    next
}

# The bytes of a packet are in lines after it, which begin with a tab.
/^\t/ {
    if (!pending) next
    hex = hex substr($0, 11)
    gsub(/ /, "", hex)
    if (length(hex) >= 2 * ip_length()) packet(payload())
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
    if (len > 0 && len <= 8) { pending = 1; hex = "" } # to be shown: wait for its bytes
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
function digit(i) { return index("0123456789abcdef", substr(hex, i, 1)) - 1 }
function number(i) { return ((digit(i) * 16 + digit(i + 1)) * 16 + digit(i + 2)) * 16 + digit(i + 3) }
function ip_length() { return digit(1) == 4 ? number(5) : digit(1) == 6 ? 40 + number(9) : 0 }
function payload(    header, i, code, text) { # its last len bytes, if all of them can be printed
    header = digit(1) == 4 ? 4 * digit(2) : 40
    header += 4 * digit(2 * header + 25)
    if (header + len != ip_length()) return "" # a packet in a packet
    for (i = 2 * header + 1; i < 2 * (header + len); i += 2) {
        code = 16 * digit(i) + digit(i + 1)
        if (code < 32 || code > 126) return ""
        text = text sprintf("%c", code)
    }
    return " \"" text "\""
}

# A conversation begins: with a SYN, which says who is client, or in the middle: then the port does.
function begin(syn,    id, e, peer, client, server, port) {
    id = ++conversations; open[id] = 1; start[id] = now; latest[id] = 0
    peer = substr(to, 1, length(to) - 1)
    client = from; server = peer; port = server
    sub(/.*\./, "", port); sub(/.*\./, "", client)
    e = 2 * id + (syn ? ack >= 0 : client + 0 < port + 0)
    client = e % 2 ? peer : from; server = e % 2 ? from : peer
    key1[id] = from SUBSEP to; key2[id] = peer SUBSEP from ":"
    end_of[key1[id]] = e; end_of[key2[id]] = e % 2 ? e - 1 : e + 1
    if (!syn || ack >= 0) beginless[id] = 1
    state[2 * id] = syn ? "SYN-SENT" : "?"; state[2 * id + 1] = syn ? "" : "?"
    client_name[id] = name("client", client, server, times); server_name[id] = name("server", server, client, 1)
    title[id] = server ~ /^(127\.0\.0\.1|::1)\.808[123]$/ ? "sample" substr(server, length(server)) : "tcp " id
    if (blocks) { take_calls(id, "client", client, server); take_calls(id, "server", client, server) }
    return e
}
function name(role, end, other, with_port,    port) {
    port = end
    sub(/.*\./, "", port); sub(/\.[0-9]+$/, "", end); sub(/\.[0-9]+$/, "", other)
    end = end == "127.0.0.1" && end == other ? "" : index(end, ":") ? "[" end "]" : end
    end = end (with_port ? ":" port : "")
    return role (end == "" ? "" : " " end)
}

# One packet: whose it is, what it does to the states, and its line.
function packet(text,    key, e, o, d, id, syn, fin, rst, end, again, before, s, l, r, label) {
    pending = 0
    syn = index(flags, "S"); fin = index(flags, "F") > 0; rst = index(flags, "R")
    key = from SUBSEP to
    if (key in end_of) {
        e = end_of[key]; d = e % 2; id = (e - d) / 2; o = d ? e - 1 : e + 1
        # another SYN is another conversation, unless it is a repeated one or the peer opens as well
        if (syn && ack < 0 && (e in isn ? isn[e] != seq || id in done : state[o] != "SYN-SENT")) {
            if (stream && id in open) finish(id)
            e = ""
        }
    }
    if (e == "") { e = begin(syn); d = e % 2; id = (e - d) / 2; o = d ? e - 1 : e + 1 }
    at = now - start[id]
    if (id in calls) draw_calls(id, at)
    if (at - latest[id] >= 1) gap(id, at)
    latest[id] = at
    count[id]++
    if (len || syn || fin) {
        end = (seq + len + (syn > 0) + fin) % 4294967296
        if (e in next_seq && minus(end, next_seq[e]) <= 0) again = " again"
        else next_seq[e] = end
    }
    if (rst) {
        if (!(id in done) && !(id in reset_by)) {
            reset_by[id] = d; reset_at[id] = at; unreset[id] = state[o]
        } else if (id in reset_by && reset_by[id] != d && !(id in missed)) both_reset[id] = 1
        state[e] = state[o] = "CLOSED"
    } else {
        if (id in reset_by && reset_by[id] != d && !(id in missed) && !(id in both_reset)) miss(id, e, fin)
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
                if (o in fin_end && !(o in fin_acked)) { # sent before the other FIN came
                    crossed[id] = 1
                    state[e] = state[o] = "CLOSING"
                    redraw(id, d ? mark_l[id] : "", d ? "" : mark_r[id], 0)
                } else if (o in fin_end) {
                    four[id] = before
                    state[e] = "LAST-ACK"
                    if (state[o] != "CLOSED") state[o] = "TIME-WAIT"
                } else {
                    first_fin[id] = d
                    state[e] = "FIN-WAIT-1"
                    if (state[o] != "CLOSED") state[o] = "CLOSE-WAIT"
                }
            }
        }
    }
    s = state[2 * id]; if (s != drawn[2 * id]) l = drawn[2 * id] = s
    s = state[2 * id + 1]; if (s != drawn[2 * id + 1]) r = drawn[2 * id + 1] = s
    label = (flags in labels ? labels[flags] : words(flags)) (len ? text ? text : " " len " bytes" : "") again
    if (length(label) > 21) { sub(/ytes/, "", label); label = substr(label, 1, 21) }
    put(id, rung(at, d, label, l, r, 0))
    if (fin || rst) { # what comes later may tell more about this packet
        mark[id] = line_count; mark_at[id] = at; mark_d[id] = d; mark_label[id] = label; mark_l[id] = l; mark_r[id] = r
    }
    l = state[2 * id]; r = state[2 * id + 1]
    if ((r == "CLOSED" || r == "TIME-WAIT") && (l == "CLOSED" || l == "TIME-WAIT") && !(id in done)) {
        done[id] = 1
        if (stream) finish(id)
    }
}
# The end e sends after a RST to it: so the RST has not arrived, or not yet.
function miss(id, e, fin) {
    missed[id] = at - reset_at[id] < 0.2 ? "crossed" : "lost"
    met[id] = fin ? "FIN" : len ? "data" : "ACK"
    state[e] = drawn[e] = unreset[id]
    delete done[id]
    redraw(id, e % 2 ? mark_l[id] : state[e], e % 2 ? state[e] : mark_r[id], missed[id] == "lost")
    if (stream) put(id, "  the RST " (missed[id] == "lost" ? "was lost: " : "had not come: ") \
        (e % 2 ? "server" : "client") " was still " state[e])
}
function redraw(id, l, r, lost) { # unless it is on the screen already
    if (mark[id] in line) line[mark[id]] = rung(mark_at[id], mark_d[id], mark_label[id], l, r, lost)
}

function verdict(id,    c, s, how, after) {
    c = state[2 * id]; s = state[2 * id + 1]
    if (!(id in done))
        return (id in beginless ? "beginning and end missing: " : "end missing after " count[id] " packets: ") \
            ((c == "CLOSED") != (s == "CLOSED") ? "half-open, " : "") "client " c ", server " (s == "" ? "silent" : s) "."
    after = id in beginless ? ", beginning missing: " : " after " count[id] " packets: "
    if (id in reset_by) {
        how = "server refused it" after "RST to the SYN."
        if (unreset[id] != "SYN-SENT" || !reset_by[id])
            how = (id in both_reset ? "both" : reset_by[id] ? "server" : "client") " reset it" after \
                (id in both_reset ? "RST both ways." : id in missed ? "RST " missed[id] ", " met[id] " met RST." : \
                id in first_fin ? "RST after FIN." : id in beginless ? "RST." : "RST, no FIN.")
    } else if (id in crossed) how = "both closed" after "FIN both ways at once."
    else how = (first_fin[id] ? "server" : "client") " closed" after \
        (four[id] ? "FIN in four packets." : "FIN in three, ACK on FIN.")
    return how " TIME-WAIT: " \
        (c == "TIME-WAIT" ? s == c ? "both" : "client" : s == "TIME-WAIT" ? "server" : "nobody") "."
}

# Logs have local time without a zone. So the first call of a block is set beside the packets by its
# quarter of an hour, which is the same in every zone, and the others beside the first.
function take_calls(id, role, client, server,    list, n, k, b, i, j, first, when) {
    n = split(waiting[role, client, server], list, " ")
    for (k = 1; k <= n; k++) {
        b = list[k]
        first = log_time[b, 1] - start[id] % 86400 + 1 # may be a little early
        first = first - 900 * int(first / 900) + (first < 0 ? 900 : 0) - 1
        if (b in taken || first > 60) continue # of another connection from the same port
        taken[b] = 1
        for (i = 1; i <= lines[b]; i++) {
            when = log_time[b, i] - log_time[b, 1]
            when = first + (when < 0 ? when + 86400 : when) # past midnight
            for (j = ++calls[id]; j > 1 && call_at[id, j - 1] > when; j--) {
                call_at[id, j] = call_at[id, j - 1]; call_by[id, j] = call_by[id, j - 1]; call[id, j] = call[id, j - 1]
            }
            call_at[id, j] = when; call_by[id, j] = role; call[id, j] = log_text[b, i]
        }
        return
    }
}
function draw_calls(id, before,    i, text) {
    while (calls_drawn[id] < calls[id] && call_at[id, calls_drawn[id] + 1] < before) {
        i = ++calls_drawn[id]
        if (call_at[id, i] - latest[id] >= 1) gap(id, call_at[id, i])
        latest[id] = call_at[id, i]
        text = call[id, i]
        if (mermaid) text = "    Note " (call_by[id, i] == "client" ? "left of C: " : "right of S: ") escape(text)
        else if (call_by[id, i] == "server") text = stamp(latest[id]) blanks[13] V blanks[26] V "  " text
        else if (length(text) > 12) text = stamp(latest[id]) text substr(blanks[26] blanks[14], length(text) + 1) V
        else text = stamp(latest[id]) text blanks[13 - length(text)] V blanks[26] V
        put(id, text)
    }
}

# ---- lines
function stamp(at) { return times ? substr(sprintf("%.6f", at), 1, 8) "  " : "" }
function rung(at, d, label, l, r, lost,    n) {
    if (mermaid)
        return "    " (d ? "S" : "C") (lost ? "-x" : "->>") (d ? "C: " : "S: ") escape(label) \
            (l == "" ? "" : "\n    Note left of C: " l) (r == "" ? "" : "\n    Note right of S: " r)
    n = 21 - length(label)
    if (colour && label ~ /RST|FIN/) label = (label ~ /RST/ ? "\033[1;31m" : "\033[1;33m") label "\033[0m"
    return stamp(at) l blanks[13 - length(l)] \
        (d ? V (lost ? X : FROM) dashes[n] " " label " " H H R : L H H " " label " " dashes[n] (lost ? X : TO) V) \
        (r == "" ? "" : "  " r)
}
function gap(id, at,    text) {
    text = sprintf("%.1f s", at - latest[id])
    if (times && mermaid) put(id, "    Note over C,S: " text)
    else if (times) put(id, "   " GAP blanks[19] V blanks[10] text blanks[16 - length(text)] V)
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

# ---- whose lines are on the screen: a stream'\''s one conversation at once, a file'\''s at the end
function put(id, text) {
    if (stream && (!live || live == id || !(id in open))) {
        if (id in open) live = id
        take_screen(id)
        print text
        fflush()
        return
    }
    line[++line_count] = text
    if (id in last) following[last[id]] = line_count
    else first_line[id] = line_count
    last[id] = line_count
}
function take_screen(id,    n, next_n, more, width) {
    if (screen != id) {
        if (screen) print ""
        screen = id
        more = id in seen ? " (continued)" : ""
        seen[id] = 1
        width = times ? 50 : 40
        if (mermaid)
            print "```mermaid\nsequenceDiagram\n    participant C as " title[id] " " client_name[id] \
                "\n    participant S as " server_name[id]
        else if (length(client_name[id] more) < width - 10 && length(server_name[id]) <= 80 - width)
            printf "%-*s%s\n", width, sprintf("%-10s%s", title[id], client_name[id] more), server_name[id]
        else printf "%-10s%s\n%80s\n", title[id], client_name[id] more, server_name[id]
        if (times && !mermaid && !more) print " seconds"
    }
    for (n = first_line[id]; n; n = next_n) {
        print line[n]
        next_n = following[n]
        delete line[n]; delete following[n]
    }
    delete first_line[id]; delete last[id]
}
function finish(id,    text) {
    if (id in calls) draw_calls(id, 1e9)
    take_screen(id)
    text = verdict(id)
    if (mermaid) print "    Note over C,S: " text "\n```"
    else print (length(text) > 78 ? "" : "  ") (colour ? "\033[1m" text "\033[0m" : text)
    fflush()
    delete open[id]
    if (!stream) return
    if (live == id) live = 0
    while (low <= conversations && !(low in open)) low++
    if (!live && low in open) { live = low; take_screen(low) }
    # late packets may come for the latest that ended; the others are forgotten
    forget(recent[turn = (turn + 1) % 64])
    recent[turn] = id
}
function forget(id,    e) {
    if (!id || id in open) return
    if (int(end_of[key1[id]] / 2) == id) { delete end_of[key1[id]]; delete end_of[key2[id]] }
    delete key1[id]; delete key2[id]; delete start[id]; delete latest[id]; delete count[id]; delete beginless[id]
    delete client_name[id]; delete server_name[id]; delete title[id]; delete seen[id]; delete done[id]
    delete reset_by[id]; delete reset_at[id]; delete unreset[id]; delete both_reset[id]; delete missed[id]
    delete met[id]; delete crossed[id]; delete four[id]; delete first_fin[id]; delete calls[id]; delete calls_drawn[id]
    delete mark[id]; delete mark_at[id]; delete mark_d[id]; delete mark_label[id]; delete mark_l[id]; delete mark_r[id]
    for (e = 2 * id; e <= 2 * id + 1; e++) {
        delete state[e]; delete drawn[e]; delete isn[e]; delete next_seq[e]; delete fin_end[e]; delete fin_acked[e]
    }
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
                LC_ALL=C exec "$awk" $unbuffered -v art="$art" -v times="$times" -v mermaid="$mermaid" \
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
