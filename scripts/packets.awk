# First step of ladder.sh: finds the conversations. Reads the lines of the samples' programs, each file's after
# a line "log: FILE", then what "tcpdump -nn -tt -S -r" prints, with its stderr and perhaps with -x, or what
# text.awk makes of text. Writes a line for each conversation, packet and call, and one for the end:
#   ID 0     begin TIME CLIENT SERVER               ends are ADDRESS.PORT
#   ID WHEN  >|< TIME FLAGS SEQ ACK LENGTH MARK SACK ["DATA"|(challenge)]
#            > from the client; FLAGS are tcpdump's; - stands for what is not there; MARK tells copies of one
#            packet from two packets: #NUMBER its IP id, else the interface and direction of "-i any";
#            SACK: right edge of the right-most block, or -
#   ID WHEN  client|server CALL                     what a program of the samples did
#   ID 0     used FILE                              a log with calls of a conversation
#   ID 0     clock local|untimed                    what the times of a text are, if not seconds since 1970
#   ID 0     end [COMPLAINT]                        what is wrong with the recording, and the way out
# ID counts conversations. "sort -s -k1,1n -k2,2n" brings together what belongs together: WHEN is TIME, but a
# packet's is never before its predecessor's, for a clock may go back.
#
# Of each pair "FROM TO", in both directions: id, way (> or <). Of each ID: isn (what its SYN bears), and until
# an answer comes, awaited; older, the conversation that had the same ends before.
BEGIN {
    OFMT = CONVFMT = "%.6f"
    WRAP = 4294967296           # TCP's numbers go round at 2^32
    MAX_TEXT = 8                # bytes: longer data is not shown as text
    MAX_CALL = 27               # characters of a call that fit beside the ladder
    latest = 0
    for (i = 32; i < 127; i++) char[sprintf("%02x", i)] = sprintf("%c", i)
    # Words of link types and tunnels that may stand before the addresses; anything else is somebody's text.
    number = "[0-9]+"
    address = "[0-9a-fA-F.:%a-z]+"
    known_words = "^([^ ]+ +(In|Out|P|B|M) +" \
        "|IP6? " address " > " address ": *" \
        "|truncated-ip6? - " number " bytes missing! ?" \
        "|vlan " number ", p " number ",( DEI,)? *" \
        "|GREv[01],[^:\"]*: " \
        "|Geneve,[^:\"]*: " \
        "|MPLS( \\([^)]*\\))+,? *" \
        "|PPPoE +\\[[^]]*\\] *" \
        "|PPP-IP6? \\(0x[0-9a-f]+\\), length " number ": *" \
        "|l2tp:\\[[^]]*\\]\\([0-9/]+\\) *\\{" \
        "|(HBH|DSTOPT|RT6|srcrt|frag) *(\\([^)]*\\))? *)"
}

# ---- the programs' lines
/^log: / {
    log_name = substr($0, 6)
    key["client"] = ""
    key["server"] = ""
    next
}
$2 == "client" || $2 == "server" {
    take_call()
    next
}

# ---- tcpdump's lines
/^\t/ { # bytes of the latest packet, by -x
    if (record != "") hex = hex substr($0, 11)
    next
}
/^tcpdump: / {
    message = $0
    sub(/^tcpdump: (pcap_loop: )?/, "", message)
    next
}
/^reading from file / {
    cooked = index($0, " LINUX_SLL ") > 0
    next
}
/^text: / { # text.awk says so
    text_is = $2
    if ($2 == "local" || $2 == "untimed") print 0, 0, "clock", $2
    next
}
{
    if (record != "") write_packet()
    if ($1 ~ /^[0-9]/) { # else it is the rest of a VXLAN packet
        now = $1
        if (now > latest) latest = now
        lines++
    }
    arrow = find_tcp()
    if (arrow) take_packet()
    else if (/\[\|tcp\]/) cut++
    else if (/ bad-len 0/) undecoded++
}
END {
    if (record != "") write_packet()
    for (log_name in used) print conversations + 1, 0, "used", log_name
    print conversations + 1, 0, "end" complaint()
}

function take_packet(    i, range, pair) {
    flags = $(arrow + 3)
    seq = "-"
    len = 0
    i = arrow + 4
    if ($i == "seq") {
        seq = $(i + 1)
        sub(/,$/, "", seq)
        if (split(seq, range, ":") == 2) {
            seq = range[1]
            len = range[2] - seq
            if (len < 0) len += WRAP
        }
        i += 2
    }
    ack = "-"
    if ($i == "ack") {
        ack = $(i + 1)
        sub(/,$/, "", ack)
    }
    pair = from " " to
    opens = ack == "-" && flags ~ /S/
    if (!(pair in id) || opens && is_another(id[pair])) begin(pair)
    current = id[pair]
    if (opens) isn[current, from] = seq
    else if (current in awaited) current = answer_or_older(current, pair)
    mark = mark_of_line()
    sack = index($0, "sack ") ? right_edge() : "-"
    extra = remark
    remark = ""
    record = current " " latest " " way[pair] " " now " " flags " " seq " " ack " " len
    if (!with_hex) write_packet()
}
# Another SYN begins another conversation, unless it is a repeated one, or the peer opens as well, or the
# SYN, ACK was recorded before its SYN.
function is_another(current) {
    if (isn[current, from] != "") return isn[current, from] != seq
    if (current in acknowledges) return acknowledges[current] != (seq + 1) % WRAP
    return !(current in awaited)
}
function begin(pair,    ends, reverse) {
    reverse = to " " from
    if (opens && pair in id) older[conversations + 1] = id[pair]
    id[pair] = ++conversations
    id[reverse] = conversations
    awaited[conversations] = 1
    if (flags ~ /S/ && !opens) acknowledges[conversations] = ack
    # without a SYN: the higher port is the client's
    way[pair] = (flags ~ /S/ ? opens : port(from) >= port(to)) ? ">" : "<"
    if (reverse != pair) way[reverse] = way[pair] == ">" ? "<" : ">"
    ends = way[pair] == ">" ? pair : reverse
    print conversations, 0, "begin", now, ends
    write_calls("client " ends)
    write_calls("server " ends)
}
# The first packets after a SYN answer it, or they are of the older conversation of the same ends, whose end
# answers with an ACK (RFC 9293, 3.10.7.4) and is answered with a RST.
function answer_or_older(current, pair) {
    if (current in older && flags !~ /S/) {
        if (way[pair] == "<" && (ack == "-" || ack != (isn[current, to] + 1) % WRAP)) {
            stray[current] = ack
            remark = " (challenge)"
            return older[current]
        }
        if (way[pair] == ">" && flags ~ /R/ && stray[current] == seq) return older[current]
    }
    delete awaited[current]
    return current
}
# The field of the ">" between FROM and TO, the two ends; 0 if this line tells of no TCP packet.
function find_tcp(    i) {
    if ($4 == ">" && $6 == "Flags" && ($2 == "IP" || $2 == "IP6")) i = 4
    else if ($6 == ">" && $8 == "Flags" && $3 ~ /^(In|Out|P|B|M)$/) i = 6
    else return find_behind_words()
    from = $(i - 1)
    to = $(i + 1)
    to = substr(to, 1, length(to) - 1)
    # IPv6 extension headers stand between addresses and ports
    return from ~ /[.]/ ? i : find_behind_words()
}
function find_behind_words(    i, rest, outer) {
    for (i = 2; i < NF; i++) if ($i == ">" && $(i + 2) == "Flags") break
    if (i >= NF) return 0
    rest = substr($0, 1, index($0, " > " $(i + 1) " Flags "))
    sub(/^[0-9.]+ +/, "", rest)
    while (match(rest, known_words)) {
        if (substr(rest, 1, 2) == "IP") outer = substr(rest, 1, RLENGTH)
        rest = substr(rest, RLENGTH + 1)
    }
    sub(/^IP6? /, "", rest)
    sub(/ $/, "", rest)
    if (rest == "" || rest != $(i - 1)) return 0
    from = rest
    to = $(i + 1)
    sub(/:$/, "", to)
    if (from !~ /[.]/) {
        split(outer, part, " ")
        sub(/:$/, "", part[4])
        from = part[2] "." from
        to = part[4] "." to
    }
    return i
}
function port(end) {
    sub(/.*[.]/, "", end)
    return end + 0
}
function write_packet() { # the latest, with its data, if that is short, whole and printable
    if (hex ~ /^4/ && mark ~ /^[-#]/) mark = "#" substr(hex, 11, 4) # bytes 4 and 5: the IP id
    print record, mark, sack (extra != "" ? extra : data_text())
    record = ""
    hex = ""
}
function data_text(    ip_length, bytes, i, text) {
    if (len < 1 || len > MAX_TEXT || hex == "") return ""
    gsub(/ /, "", hex)
    ip_length = hex ~ /^4/ ? hex_number(5) : 40 + hex_number(9)
    bytes = substr(hex, 2 * (ip_length - len) + 1, 2 * len)
    for (i = 1; i < length(bytes); i += 2) text = text char[substr(bytes, i, 2)]
    return length(text) == len ? " \"" text "\"" : ""
}
function hex_number(at,    i, n) { # the four hexadecimal digits there
    for (i = at; i < at + 4; i++) n = 16 * n + index("123456789abcdef", substr(hex, i, 1))
    return n
}
function mark_of_line() {
    if ($6 != ">" || arrow != 6) return cooked ? "#cooked" : "-"
    return $2 ~ /^#/ ? $2 : $2 "." $3
}
function right_edge(    blocks, n, block, i, edge, far, farthest) { # of "sack 2 {1:2}{5:9}"
    blocks = substr($0, index($0, "sack ") + 5)
    sub(/\}[^{].*/, "", blocks)
    sub(/^[0-9]+ +\{/, "", blocks)
    n = split(blocks, block, /[{}]+/)
    farthest = -1
    for (i = 1; i <= n; i++) {
        if (block[i] !~ /:/) continue
        sub(/.*:/, "", block[i])
        far = (block[i] - ack + WRAP) % WRAP
        if (far > farthest) {
            farthest = far
            edge = block[i]
        }
    }
    return edge == "" ? "-" : edge
}

# ---- calls
# A program names its connection when it accepts or connects; its lines from there on are about that one.
function take_call(    text, time, line) {
    if (seen[$0]++) return # a log that is found may be named as well
    if ($3 == "listen") {
        listener = dotted($4)
        key["server"] = ""
    }
    if ($3 == "accept") key["server"] = "server " dotted($4) " " listener
    if ($3 == "connect") key["client"] = "client " dotted($6) " " dotted($4)
    if (key[$2] == "") return
    text = $3 == "accept" || $3 == "connect" ? $3 : substr($0, length($1 $2) + 3)
    gsub(/[^ -~]/, ".", text) # nothing in a log steers the terminal
    if (length(text) > MAX_CALL) sub(/ \(.*|, .*/, "", text)
    time = substr($1, 4, 2) % 15 * 60 + substr($1, 7)
    line = ++calls[key[$2]]
    call_time[key[$2], line] = time
    call_text[key[$2], line] = $2 " " substr(text, 1, MAX_CALL)
    call_log[key[$2], line] = log_name
}
# 127.0.0.1:80 or [::1]:80 as tcpdump writes it
function dotted(end) {
    sub(/:[0-9]*$/, ".&", end)
    sub(/[.]:/, ".", end)
    gsub(/[][]/, "", end)
    return end
}
# Logs have local time: only the quarter of the hour is the same in every zone. Calls that do not follow the
# conversation's beginning, nor precede it by less than 1 s, are of an older connection from this port.
function write_calls(key,    i, late) {
    for (i = 1; i <= calls[key]; i++) {
        late = (call_time[key, i] - now % 900 + 1350) % 900 - 450
        if (late <= -1) continue
        print conversations, now + late, call_text[key, i]
        used[call_log[key, i]] = 1
    }
}
function complaint() {
    if (message ~ /^unknown file/) return " not a recording (tcpdump -w and scripts/capture.sh write some)"
    if (message ~ /file header bytes, only got 0$/) return " empty file (scripts/capture.sh records one)"
    if (message ~ /^truncated/) return " " message " (stop the recorder before its file is read)"
    if (message) return " " message " (tcpdump -r says so)"
    if (cut) return " " cut " TCP packet" s(cut) " cut too short by the snap length (tcpdump -s 128 or more)"
    if (undecoded) return " " undecoded " packet" s(undecoded) " that tcpdump cannot decode: bad-len 0 (tcpdump -r)"
    if (conversations) return ""
    if (text_is == "empty") return " empty file (scripts/capture.sh records one)"
    if (text_is == "none") return " neither a recording nor text that tcpdump printed (scripts/capture.sh records)"
    return (lines ? " no TCP" : " no packets") " in it (scripts/capture.sh records some)"
}
function s(count) {
    return count == 1 ? "" : "s"
}
