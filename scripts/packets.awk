# First step of ladder.sh: finds the conversations. Reads the lines of the samples' programs, each
# file's after a line "log: FILE", then what "tcpdump -nn -tt -S -r" prints, with its stderr and
# perhaps with -x, or what text.awk makes of text. Writes a line for each conversation, packet and
# call, and one for the end:
#   ID 0     begin TIME CLIENT SERVER               ends are ADDRESS.PORT
#   ID WHEN  TIME MARK >[FLAGS],SEQ,ACK,LENGTH,SACK ["DATA"|(challenge)]
#            TIME is = if it is WHEN; < if the packet is from the server; what is not there is
#            empty; SACK is the right edge of the right-most block. MARK tells copies of one
#            packet from two packets: #NUMBER its IP id, else what "-i any" says, else -
#   ID WHEN  client|server CALL                     what a program of the samples did
#   ID 0     used FILE                              a log with calls of a conversation
#   ID 0     clock local|untimed                    what the times of a text are, if not seconds
#            since 1970
#   ID 0     end [COMPLAINT]                        what is wrong with the recording, and the way
#            out
# ID counts conversations. "sort -s -k1,1n -k2,2n" brings together what belongs together: WHEN is
# TIME, but a packet's is never before its predecessor's, for a clock may go back.
#
# Of each pair "FROM > TO": id, negative if FROM is the server. Of each of these signed ids: isn,
# what the SYN of that end bears; stray, what it was acknowledged with instead. Of each
# conversation: older, the signed id that the opening end had before; awaited, as long as no
# answer has come.
BEGIN {
    OFMT = CONVFMT = "%.6f"
    WRAP = 4294967296           # TCP's numbers go round at 2^32
    MAX_NUMBERS = 57            # characters: flags, seq and ack are not longer
    MAX_TEXT = 8                # bytes: longer data is not shown as text
    MAX_CALL = 27               # characters of a call that fit beside the ladder
    latest = 0
    for (i = 32; i < 127; i++) char[sprintf("%02x", i)] = sprintf("%c", i)
    # Words of link types and tunnels that may stand before the addresses; anything else is
    # somebody's text.
    number = "[0-9]+"
    address = "[0-9a-fA-F.:%a-z]+"
    known_words = "^([^ ]+ +(In|Out|P|B|M) +" \
        "|IP6? " address " > " address ": +" \
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

!in_log && /^[0-9]/ { # the most frequent first
    if (held != "") write_held()
    now = substr($0, 1, index($0, " ") - 1)
    if (now + 0 >= latest + 0) latest = now
    lines++
    take_line(substr($0, length(now) + 2))
    next
}
/^\t/ { # bytes of the latest packet, by -x
    if (held != "") hex = hex substr($0, 11)
    next
}
/^log: / {
    log_name = substr($0, 6)
    in_log = log_name != ""
    key["client"] = ""
    key["server"] = ""
    next
}
in_log {
    take_call()
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
{ # the rest of a VXLAN packet
    if (held != "") write_held()
    take_line($0)
}
END {
    if (held != "") write_held()
    for (log_name in used) print conversations + 1, 0, "used", log_name
    print conversations + 1, 0, "end" complaint()
}

# ---- tcpdump's lines
# Takes "IP FROM > TO: Flags [P.], seq 1:5, ack 1, win 512, ...". This is where the time goes, if
# a recording is large: so nothing is done twice here, and only what every packet needs.
function take_line(text,    colon, pair, known_pair, signed) {
    colon = index(text, ": Flags [")
    if (!colon) {
        if (text ~ /\[\|tcp\]/) cut++
        else if (text ~ / bad-len 0/) undecoded++
        return
    }
    head = substr(text, 1, colon - 1)
    pair = substr(head, 1, 3) == "IP " ? substr(head, 4) : head
    signed = id[pair]
    if (!signed) {
        known_pair = find_pair(head)
        if (known_pair != pair) delete id[pair]
        if (known_pair == "") return
        pair = known_pair
        signed = id[pair]
    }
    read_numbers(substr(text, colon + 8, MAX_NUMBERS))
    if (!signed || opens && is_another(signed)) signed = begin(pair)
    current = signed
    if (opens) isn[signed] = seq
    else if (signed in awaited || -signed in awaited) signed = answer_or_older(signed)
    way = signed > 0 ? ">" : "<"
    current = signed > 0 ? signed : -signed
    sack = index(text, "sack ") ? right_edge(text) : ""
    mark = cooked ? "#cooked" : "-"
    if (marks && head in mark_of) mark = mark_of[head]
    if (with_hex) hold()
    else print current, latest, (now == latest ? "=" : now), mark, shape() remark
    remark = ""
}
# Of "[P.], seq 1:5, ack 1, ...".
function read_numbers(text,    i, colon) {
    split(text, word, " ")
    flags = word[1]
    seq = ""
    ack = ""
    len = 0
    i = 2
    if (word[2] == "seq") {
        colon = index(word[3], ":")
        seq = substr(word[3], 1, (colon ? colon : length(word[3])) - 1)
        if (colon) {
            len = substr(word[3], colon + 1) - seq
            if (len < 0) len += WRAP
        }
        i = 4
    }
    if (word[i] == "ack") ack = substr(word[i + 1], 1, length(word[i + 1]) - 1)
    opens = ack == "" && index(flags, "S")
}
# Another SYN begins another conversation, unless it is a repeated one, or the peer opens as well,
# or the SYN, ACK was recorded before its SYN.
function is_another(signed) {
    if (signed in isn) return isn[signed] != seq
    if (signed in acknowledges) return acknowledges[signed] != (seq + 1) % WRAP
    return !(signed in awaited || -signed in awaited)
}
function begin(pair,    end, reverse, from_client, signed) {
    split(pair, end, " > ")
    reverse = end[2] " > " end[1]
    # without a SYN: the higher port is the client's
    from_client = index(flags, "S") ? opens : port(end[1]) >= port(end[2])
    conversations++
    if (opens && id[pair]) older[conversations] = id[pair]
    signed = from_client ? conversations : -conversations
    id[reverse] = -signed
    id[pair] = signed
    awaited[conversations] = 1
    if (index(flags, "S") && !opens) acknowledges[-signed] = ack
    ends = from_client ? end[1] " " end[2] : end[2] " " end[1]
    print conversations, 0, "begin", now, ends
    write_calls("client " ends)
    write_calls("server " ends)
    return signed
}
# The first packets after a SYN answer it, or they are of the older conversation of the same ends,
# whose end answers with an ACK (RFC 9293, 3.10.7.4) and is answered with a RST.
function answer_or_older(signed,    opener) {
    opener = -signed
    if (opener in isn && (opener < 0 ? -opener : opener) in older && !index(flags, "S")) {
        if (ack == "" || ack != (isn[opener] + 1) % WRAP) {
            stray[opener] = ack
            remark = " (challenge)"
            return older_of(signed)
        }
    } else if (signed in isn && index(flags, "R")) {
        if (signed in stray && stray[signed] == seq) return older_of(signed)
    }
    delete awaited[signed < 0 ? -signed : signed]
    return signed
}
# The older conversation, with the sign of the end that sent this packet.
function older_of(signed,    before) {
    before = older[signed < 0 ? -signed : signed] # signed for the end that opened the newer one
    return signed in isn ? before : -before
}
# "FROM > TO" of a line's words up to the ports, "" if they tell of no TCP packet. Remembers what
# -i any says.
function find_pair(head,    word, n, rest, outer) {
    if (head in pair_of) return pair_of[head]
    n = split(head, word, " ")
    if (n < 4 || word[n - 1] != ">") return ""
    rest = head
    while (match(rest, known_words)) {
        if (substr(rest, 1, 2) == "IP") outer = substr(rest, 1, RLENGTH)
        rest = substr(rest, RLENGTH + 1)
    }
    sub(/^IP6? /, "", rest)
    if (rest != word[n - 2] " > " word[n]) return ""
    if (word[n - 2] !~ /[.]/) { # IPv6 extension headers stand between addresses and ports
        split(outer, part, " ")
        sub(/:$/, "", part[4])
        rest = part[2] "." word[n - 2] " > " part[4] "." word[n]
    }
    if (head != "IP " rest) pair_of[head] = rest
    if (word[2] ~ /^(In|Out|P|B|M)$/) {
        marks++
        mark_of[head] = word[1] ~ /^#/ ? word[1] : word[1] "." word[2]
    }
    return rest
}
function port(end) {
    sub(/.*[.]/, "", end)
    return end + 0
}
function shape() {
    return way flags seq "," ack "," len "," sack
}
# With -x the packet's bytes are still to come.
function hold() {
    held = current " " latest " " (now == latest ? "=" : now)
    held_shape = shape()
    held_remark = remark
}
function write_held() { # with its data, if that is short, whole and printable
    if (hex ~ /^4/ && mark ~ /^[-#]/) mark = "#" substr(hex, 11, 4) # bytes 4 and 5: the IP id
    print held, mark, held_shape (held_remark != "" ? held_remark : hex != "" ? data_text() : "")
    held = ""
    hex = ""
}
function data_text(    ip_length, bytes, i, text) {
    if (len < 1 || len > MAX_TEXT) return ""
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
function right_edge(text,    blocks, n, block, i, edge, far, farthest) { # of "sack 2 {1:2}{5:9}"
    blocks = substr(text, index(text, "sack ") + 5)
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
    return edge
}

# ---- calls
# A program names its connection when it accepts or connects; its lines from there on are about
# that one.
function take_call(    text, time) {
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
    calls++
    if (key[$2] in last_call) next_call[last_call[key[$2]]] = calls
    else first_call[key[$2]] = calls
    last_call[key[$2]] = calls
    next_call[calls] = 0
    call_time[calls] = time
    call_text[calls] = $2 " " substr(text, 1, MAX_CALL)
    call_log[calls] = log_name
}
# 127.0.0.1:80 or [::1]:80 as tcpdump writes it
function dotted(end) {
    sub(/:[0-9]*$/, ".&", end)
    sub(/[.]:/, ".", end)
    gsub(/[][]/, "", end)
    return end
}
# Logs have local time: only the quarter of the hour is the same in every zone. Calls that do not
# follow the conversation's beginning, nor precede it by less than 1 s, are of an older connection
# from this port.
function write_calls(key,    i, late) {
    for (i = key in first_call ? first_call[key] : 0; i; i = next_call[i]) {
        late = (call_time[i] - now % 900 + 1350) % 900 - 450
        if (late <= -1) continue
        print conversations, now + late, call_text[i]
        used[call_log[i]] = 1
    }
}
function complaint() {
    if (message ~ /^unknown file/) return " not a recording (scripts/capture.sh writes some)"
    if (message ~ /filter expression/) return " FILTER: " message " (man pcap-filter)"
    if (message ~ /^truncated/) return " " message " (stop the recorder before its file is read)"
    if (message) return " " message " (tcpdump -r says so)"
    if (cut) return " " packets(cut, "TCP ") " cut too short by the snap length (tcpdump -s 128)"
    if (undecoded) return " " packets(undecoded) " that tcpdump cannot decode: bad-len 0 (-r)"
    if (conversations) return ""
    if (text_is == "unfiltered") return " FILTER needs a recording (grep chooses lines of text)"
    if (text_is == "empty") return " empty file (scripts/capture.sh records one)"
    if (text_is == "quiet") return " tcpdump -q leaves out the flags (print it without -q)"
    if (text_is == "none") return " neither a recording nor text of tcpdump (capture.sh records)"
    if (filter != "") return " no TCP in it that FILTER chooses (tcpdump -r shows what there is)"
    return (lines ? " no TCP" : " no packets") " in it (scripts/capture.sh records some)"
}
function packets(count, kind) {
    return count " " kind "packet" (count == 1 ? "" : "s")
}
