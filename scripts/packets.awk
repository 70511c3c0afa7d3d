# First step of ladder.sh. Reads the lines of the samples' programs, then "tcpdump -nn -tt -S -x -r" with its
# stderr. Writes a line for each conversation, packet and call, and one for the end:
#   ID 0     begin TIME CLIENT SERVER WHOLE           ends are ADDRESS.PORT; WHOLE 1: begins with its SYN
#   ID WHEN  >|< TIME FLAGS SEQ ACK LENGTH ["DATA"]   > from the client; FLAGS are tcpdump's; ACK may be -
#   ID WHEN  client|server CALL                       what a program of the samples did
#   ID 0     end [COMPLAINT]                          what is wrong with the recording, and the way out
# ID counts conversations, TIME is in seconds since 1970. "sort -s -k1,1n -k2,2n" brings together what belongs
# together: WHEN is TIME, but a packet's is never before its predecessor's, for a clock may go back.
BEGIN { OFMT = CONVFMT = "%.6f"; for (i = 32; i < 127; i++) char[sprintf("%02x", i)] = sprintf("%c", i) }
/^\t/ { if (len > 0 && len <= 8) hex = hex substr($0, 11); next } # the bytes of the latest packet

# A program names its connection when it accepts or connects; its lines from there on are about that one.
$2 == "client" || $2 == "server" {
    if (seen[$0]++) next # a log that is found may be named as well
    if ($3 == "listen") { listener = dotted($4); key["server"] = "" }
    if ($3 == "accept") key["server"] = "server " dotted($4) " " listener
    if ($3 == "connect") key["client"] = "client " dotted($6) " " dotted($4)
    if (key[$2] == "") next
    text = $3 == "accept" || $3 == "connect" ? $3 : substr($0, length($1 $2) + 3)
    gsub(/[^ -~]/, ".", text) # nothing in a log steers the terminal
    if (length(text) > 27) sub(/ \(.*|, .*/, "", text)
    time = substr($1, 4, 2) % 15 * 60 + substr($1, 7)
    calls[key[$2]] = calls[key[$2]] time " " $2 " " substr(text, 1, 27) "\n"
    next
}
/^tcpdump: / { message = $0; sub(/^tcpdump: (pcap_loop: )?/, "", message); next }
{
    write_packet()
    if ($1 ~ /^[0-9]/) { now = $1; if (now > latest) latest = now } # else it is the rest of a VXLAN packet
    if (!(arrow = find_tcp())) next
    flags = $(arrow + 3); seq = len = 0; i = arrow + 4
    if ($i == "seq") {
        split($(i + 1), range, /[:,]/)
        seq = range[1]; i += 2
        if (range[2] != "") len = (range[2] - seq + 4294967296) % 4294967296
    }
    ack = $i == "ack" ? $(i + 1) : "-"; sub(/,$/, "", ack)
    pair = from < to ? from " " to : to " " from
    opens = flags ~ /S/ && ack == "-"
    # Another SYN begins another conversation, unless it is a repeated one or the peer opens as well.
    if (!(pair in id) || opens && (isn[pair, from] != "" ? isn[pair, from] != seq : answered[pair])) begin()
    if (opens) isn[pair, from] = seq; else answered[pair] = 1
    record = id[pair] " " latest (from == client[pair] ? " > " : " < ") now " " flags " " seq " " ack " " len
}
END { write_packet(); print conversations + 1, 0, "end" complaint() }

# The field of the ">" between FROM and TO, the two ends; 0 if this line tells of no TCP packet. Link types
# and tunnels put words in front, and IPv6 extension headers stand between addresses and ports.
function find_tcp(    i, outer) {
    for (i = 3; $i != ">" || $(i + 2) != "Flags" || $(i - 2) !~ /^IP|!$/ && $(i - 1) !~ /^[0-9]+$/; i++) {
        if (i >= NF || $i ~ /"/) return 0 # in quotes is what somebody sent
        if ($i == ">") outer = i
    }
    from = $(i - 1); to = $(i + 1); sub(/:$/, "", to)
    if (from !~ /[.]/) { sub(/:$/, ".", $(outer + 1)); from = $(outer - 1) "." from; to = $(outer + 1) to }
    return i
}
function begin(    ends) {
    id[pair] = ++conversations
    client[pair] = (flags ~ /S/ ? opens : port(from) >= port(to)) ? from : to # without a SYN: the higher port
    ends = client[pair] " " (client[pair] == from ? to : from)
    isn[pair, from] = isn[pair, to] = answered[pair] = ""
    print id[pair], 0, "begin", now, ends, opens
    write_calls("client " ends); write_calls("server " ends)
}
function port(end) { sub(/.*[.]/, "", end); return end + 0 }
function dotted(end) { sub(/:[0-9]*$/, ".&", end); sub(/[.]:/, ".", end); return end } # as tcpdump writes it
# Logs have local time: only the quarter of the hour is the same in every zone. Calls that do not follow the
# conversation's beginning, nor precede it by less than 1 s, are of an older connection from this port.
function write_calls(key,    n, call, i, late) {
    n = key in calls ? split(calls[key], call, "\n") : 0
    for (i = 1; i < n; i++) {
        late = (call[i] - now % 900 + 1350) % 900 - 450
        if (late > -1) print id[pair], now + late, substr(call[i], index(call[i], " ") + 1)
    }
}
function write_packet(    ip_length, i, text) { # the latest, and its data if short, whole, printable
    gsub(/ /, "", hex)
    ip_length = hex ~ /^4/ ? number(5) : hex ~ /^6/ ? 40 + number(9) : 0
    hex = substr(hex, 2 * (ip_length - len) + 1, 2 * len)
    for (i = 1; i < length(hex); i += 2) text = text char[substr(hex, i, 2)]
    if (record != "") print record (len && length(text) == len ? " \"" text "\"" : "")
    record = hex = ""
}
function number(at,    i, n) { # the four hexadecimal digits there
    for (i = at; i < at + 4; i++) n = 16 * n + index("123456789abcdef", substr(hex, i, 1))
    return n
}
function complaint() {
    if (message ~ /^unknown file/) return " not a recording (tcpdump -w and scripts/capture.sh write some)"
    if (message ~ /file header bytes, only got 0$/) return " empty file (scripts/capture.sh records one)"
    if (message ~ /^truncated/) return " " message " (stop the recorder before its file is read)"
    if (message) return " " message " (tcpdump -r says so)"
    if (!conversations) return (now ? " no TCP" : " no packets") " in it (scripts/capture.sh records some)"
}
