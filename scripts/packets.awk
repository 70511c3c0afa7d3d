# First step of ladder.sh. Reads the lines of the samples' programs, then what "tcpdump -nn -tt -S -x -r"
# writes, stderr included. Writes a line for each conversation, packet and call, and one for the end:
#   ID 0     begin TIME CLIENT SERVER WHOLE           WHOLE is 1 if it begins with its SYN
#   ID WHEN  > TIME FLAGS SEQ ACK LENGTH ["DATA"]     > is from the client, < from the server
#   ID WHEN  client|server CALL                       what a program of the samples did
#   ID 0     end PACKETS [COMPLAINT]                  packets of any kind, and what tcpdump complained of
# ID counts conversations, TIME is in seconds since 1970, CLIENT and SERVER are ADDRESS.PORT, FLAGS are
# tcpdump's, ACK is - without one. "sort -s -k1,1n -k2,2n" brings together what belongs together: WHEN is
# TIME, but of a packet never before that of the packet before it, for a clock may go back.
BEGIN {
    OFMT = CONVFMT = "%.6f"
    for (i = 0; i < 256; i++) byte[sprintf("%02x", i)] = i
    latest = packets = conversations = 0
    complaint = record = hex = ""
}

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
    text = $2 " " substr(text, 1, 27)
    calls[key[$2]] = calls[key[$2]] substr($1, 4, 2) % 15 * 60 + substr($1, 7) " " text "\n"
    next
}
/^\t/ { if (len > 0 && len <= 8) hex = hex substr($0, 11); next } # the bytes of the latest packet
/^tcpdump: / { complaint = $0; sub(/^tcpdump: (pcap_loop: )?/, "", complaint); next }
{
    write_packet()
    if ($1 ~ /^[0-9]/) { packets++; now = $1 } # else it is the rest of a VXLAN packet
    if (now > latest) latest = now
    if (!(arrow = find_tcp())) next
    flags = $(arrow + 3); seq = len = 0; i = arrow + 4
    if ($i == "seq") {
        split($(i + 1), range, /[:,]/)
        seq = range[1]
        if (range[2] != "") len = (range[2] - seq + 4294967296) % 4294967296
        i += 2
    }
    ack = $i == "ack" ? $(i + 1) : "-"
    sub(/,$/, "", ack)
    pair = from < to ? from " " to : to " " from
    opens = flags ~ /S/ && ack == "-"
    # Another SYN begins another conversation, unless it is a repeated one or the peer opens as well.
    if (!(pair in id) || opens && (isn[pair, from] != "" ? isn[pair, from] != seq : answered[pair])) begin()
    if (opens) isn[pair, from] = seq
    else answered[pair] = 1
    record = id[pair] " " latest " " (from == client[pair] ? ">" : "<") " " now " " flags " " seq " " ack " " len
}
END {
    write_packet()
    print conversations + 1, 0, "end", packets, complaint
}

# The field of the ">" between FROM and TO, the two ends; 0 if this line tells of no TCP packet. Link types
# and tunnels put words in front, and IPv6 extension headers stand between addresses and ports.
function find_tcp(    i, outer) {
    for (i = 3; $i != ">" || $(i + 2) != "Flags" || $(i - 2) !~ /^IP|!$/ && $(i - 1) !~ /^[0-9]+$/; i++) {
        if (i >= NF || $i ~ /"/) return 0 # in quotes is what somebody sent
        if ($i == ">") outer = i
    }
    from = $(i - 1); to = $(i + 1)
    sub(/:$/, "", to)
    if (from ~ /^[0-9]+$/) {
        from = $(outer - 1) "." from
        sub(/:$/, "." to, $(outer + 1))
        to = $(outer + 1)
    }
    return i
}
function begin(    ends, server) {
    id[pair] = ++conversations
    if (flags ~ /S/) client[pair] = opens ? from : to
    else client[pair] = port(from) < port(to) ? to : from
    server = client[pair] == from ? to : from
    isn[pair, from] = isn[pair, to] = answered[pair] = ""
    ends = client[pair] " " server
    print id[pair], 0, "begin", now, ends, opens
    if ("client " ends in calls) write_calls(calls["client " ends])
    if ("server " ends in calls) write_calls(calls["server " ends])
}
function port(end) { sub(/.*[.]/, "", end); return end + 0 }
function dotted(end) { sub(/:[0-9]*$/, ".&", end); sub(/[.]:/, ".", end); return end } # as tcpdump writes it

# Logs have local time: only the quarter of the hour is the same in every zone. Calls that do not follow the
# conversation's beginning, nor precede it by less than 1 s, are of an older connection from this port.
function write_calls(list,    n, call, i, late) {
    n = split(list, call, "\n")
    for (i = 1; i < n; i++) {
        late = (call[i] - now % 900 + 1350) % 900 - 450
        if (late > -1) print id[pair], now + late, substr(call[i], index(call[i], " ") + 1)
    }
}
function write_packet(    text) {
    if (record != "") print record ((text = data()) == "" ? "" : " \"" text "\"")
    record = hex = ""
}
function data(    ip_length, code, i, text) { # of the latest packet, if it is short, whole and printable
    gsub(/ /, "", hex)
    ip_length = hex ~ /^4/ ? number(5) : hex ~ /^6/ ? 40 + number(9) : 0
    hex = substr(hex, 2 * (ip_length - len) + 1, 2 * len)
    if (length(hex) < 2 * len) return ""
    for (i = 1; i < length(hex); i += 2) {
        code = byte[substr(hex, i, 2)]
        if (code < 32 || code > 126) return ""
        text = text sprintf("%c", code)
    }
    return text
}
function number(at) { return 256 * byte[substr(hex, at, 2)] + byte[substr(hex, at + 2, 2)] }
