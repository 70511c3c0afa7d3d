# For ladder.sh: makes of what tcpdump printed, with whatever options, what "tcpdump -nn -tt -S"
# prints of TCP. Understands -e, -v, -x, -X, -A, -t to -ttttt, -S or relative numbers, names or
# numbers, "-i any", and lines and words around it. Before the words of "-i any", or in their
# place, stands "#ID In" where -v tells the IP id. A line "text: WORD" tells packets.awk that the
# text is empty, that it has none of tcpdump's lines or was printed with -q (quiet), or that its
# times are local or missing (untimed).
#
# All lines are read before any is written. Of packet i: time[i], words[i] (what stands before the
# addresses), from[i], to[i], flags[i], seq[i], last[i], ack[i], sacks[i], size[i].
BEGIN {
    WRAP = 4294967296 # TCP's numbers go round at 2^32
    WINDOW = 16777216 # larger than any that is in use
    CLOCK = "[0-9][0-9]:[0-9][0-9]:[0-9][0-9][.][0-9]+"
    MAC = "[^ ]+( [(][^()]*[)])?" # of -e, without -n with the name of its maker
    DAY = 86400
    SELDOM = 0.1 # of the packets: so many times go back where two were swapped, not more
    DATE = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9] "
    DIRECTION = "(In|Out|P|B|M)"
}
{ sub(/\r$/, "") }
/link-type LINUX_SLL / { # "-i any", in a form that names no interfaces
    print "reading from file -, link-type LINUX_SLL (Linux cooked v1)"
    next
}
/^[> \t]*0x[0-9a-f]+: / { next } # bytes, by -x or -X
/\(tos 0x.*\)$/ && !/: Flags \[/ { # -v: the packet's other line has the rest
    line = $0
    sub(/^[> \t]+/, "", line)
    head = head == "" || line == $0 ? $0 : head " " line # or it goes on: a packet in a tunnel
    next
}
/: Flags \[/ {
    line = $0
    if (head != "") {
        sub(/^[> \t]+/, "", line)
        line = head " " line
    }
    head = ""
    take_packet(line)
    next
}
{
    if (head != "") take_time(head) # it was no TCP
    head = ""
    take_time($0)
    if (/\[\|tcp\]|bad-len 0/) undecoded[++left_out] = $0
    if (/: tcp [0-9]+$/) quiet++
}
END {
    if (!NR) print "text: empty"
    else if (!n && quiet) print "text: quiet"
    else if (!n && !left_out) print "text: none"
    else if (clock == "time of day") print "text: local"
    else if (clock == "") print "text: untimed"
    numbers_are_absolute = find_whether_absolute()
    for (i = 1; i <= n; i++) write(i)
    for (i = 1; i <= left_out; i++) print 0, undecoded[i]
}

function take_packet(line,    before, rest, n_words, word, at) {
    at = index(line, ": Flags [")
    before = substr(line, 1, at - 1)
    rest = substr(line, at + 2)
    n_words = split(before, word, " ")
    if (n_words < 3 || word[n_words - 1] != ">") return
    n++
    time[n] = take_time(before)
    from[n] = word[n_words - 2]
    to[n] = word[n_words]
    words[n] = plain_words(substr(before, 1, length(before) - length(from[n] " > " to[n])))
    flags[n] = rest
    sub(/^Flags \[/, "", flags[n])
    sub(/\].*/, "", flags[n])
    seq[n] = number_after("seq ", rest)
    last[n] = match(rest, /[ ,]seq [0-9]+:[0-9]+/) ? after_colon(substr(rest, RSTART, RLENGTH)) : ""
    ack[n] = number_after("ack ", rest)
    stamp[n] = number_after("TS val ", rest)
    sacks[n] = match(rest, /sack [0-9]+ [{][0-9:{}]+/) ? substr(rest, RSTART, RLENGTH) : ""
}
function number_after(name, text) {
    if (!match(text, "[ ,[]" name "[0-9]+")) return ""
    return substr(text, RSTART + 1 + length(name), RLENGTH - 1 - length(name)) + 0
}
function after_colon(text) {
    sub(/.*:/, "", text)
    return text + 0
}

# ---- what stands before the addresses
# Without the time and what stands before it, and without what -e and -v add.
function plain_words(text,    id) {
    if (match(text, CLOCK) || match(text, /(^|[ \t])[0-9]+[.][0-9][0-9][0-9][0-9][0-9][0-9]+ /))
        text = substr(text, RSTART + RLENGTH)
    else if (match(text, "(^|[ \t])([^ \t]+ +" DIRECTION " +)?IP6? ")) text = substr(text, RSTART)
    sub(/^[ \t]+/, "", text)
    if (match(text, /, id [0-9]+,/)) id = substr(text, RSTART + 5, RLENGTH - 6)
    sub(/\[(udp sum ok|bad udp cksum[^]]*|no cksum)\] */, "", text) # of what carries a tunnel
    gsub(/[(](tos|class|flowlabel|hlim)[^()]*([(][^()]*[)][^()]*)*[)] */, "", text)
    sub("^" MAC " ?> " MAC ", ethertype [^:]*, length [0-9]+: ", "IP ", text)
    sub("^" DIRECTION " ", "- &", text)
    sub("(ifindex [0-9]+ )?" MAC " ?ethertype IPv[46][^:]*, length [0-9]+: ", "IP ", text)
    sub(/IP vlan/, "vlan", text)
    sub(/ethertype IPv[46] [(]0x[0-9a-f]+[)], /, "IP ", text)
    sub(/^ip6?: /, "IP ", text) # -e, where the link has no addresses
    sub(/[{]IP6? [(]0x[0-9a-f]+[)], length [0-9]+: /, "{IP ", text) # -e, in a tunnel of PPP
    if (id != "" && text !~ "^[^ ]+ +" DIRECTION " ") text = "#" id " In " text
    sub(/IP IP /, "IP ", text)
    return text
}

# ---- times
# Seconds: since 1970, since midnight, or those of the line before if this one has none, 0 at first.
# Remembers which, and what tells -ttt.
function take_time(text,    seconds, part) {
    if (match(text, CLOCK)) {
        split(substr(text, RSTART, RLENGTH), part, ":")
        seconds = part[1] * 3600 + part[2] * 60 + part[3]
        if (match(text, DATE)) seconds += day(substr(text, RSTART, 10)) * DAY
        else if (seconds + midnights < latest - DAY / 2) midnights += DAY
        clock = "time of day"
        seconds += midnights
        if (first == "") first = seconds
        if (seconds < latest) goes_back++
        latest = seconds
        sum += seconds
        sums[n] = sum
        return seconds
    }
    if (match(text, /(^|[ \t])[0-9]+[.][0-9][0-9][0-9][0-9][0-9][0-9]+ /)) {
        clock = "since 1970"
        latest = substr(text, RSTART, RLENGTH) + 0
    }
    sums[n] = sum
    return latest + 0 # that of the line before: a packet in a tunnel has a line of its own
}
# Days from 1970 to the date YYYY-MM-DD: years begin in March, so that a leap day is the last of a
# year.
function day(date,    year, month, leap_days) {
    year = substr(date, 1, 4) + 0
    month = substr(date, 6, 2) - 3
    if (month < 0) {
        month += 12
        year--
    }
    leap_days = int(year / 4) - int(year / 100) + int(year / 400)
    return 365 * year + leap_days + int((153 * month + 2) / 5) + substr(date, 9, 2) - 719469
}
function time_of(i) {
    if (clock == "") return time_by_stamps(i)
    return first == 0 && goes_back > n * SELDOM ? sums[i] : time[i] # -ttt prints differences
}
# Without times: the TCP timestamps of an end count milliseconds, as Linux does.
function time_by_stamps(i) {
    if (stamp[i] == "") return now + 0
    if (!(from[i] in began)) began[from[i]] = stamp[i] / 1000 - now
    if (stamp[i] / 1000 - began[from[i]] > now) now = stamp[i] / 1000 - began[from[i]]
    return now + 0
}

# ---- numbers
# tcpdump prints them as they are in SYNs, in packets without ACK, and all of them with -S; else
# relative to the latest SYN, ACK of the two ends, or to their first packet with ACK
# (print-tcp.c). base[FROM, TO] is what it subtracts from FROM's.
function find_whether_absolute(    i, votes) {
    for (i = 1; i <= n; i++) {
        if (flags[i] !~ /[.]/) continue
        if (flags[i] ~ /S/ || !((from[i], to[i]) in base)) {
            take_base(i)
            asked[from[i], to[i]] = asked[to[i], from[i]] = 0
        } else if (!asked[from[i], to[i]]++) {
            asked[to[i], from[i]] = 1
            votes += distance(ack[i], 1) < distance(ack[i], base[to[i], from[i]] + 1) ? -1 : 1
        }
    }
    split("", base)
    return votes > 0
}
function distance(a, b) {
    a = (a - b + 2 * WRAP) % WRAP
    return a > WRAP / 2 ? WRAP - a : a
}
function take_base(i) {
    base[to[i], from[i]] = ack[i] - 1
    if (seq[i] != "") base[from[i], to[i]] = seq[i]
    else if ((from[i], to[i]) in isn) base[from[i], to[i]] = isn[from[i], to[i]] + 1
    else {
        base[from[i], to[i]] = 0
        unknown[from[i], to[i]] = 1 # an ACK does not show its own number
    }
}
function absolute(i,    known, far) {
    known = (from[i], to[i]) in base
    if (flags[i] !~ /[.]/) {
        if (flags[i] ~ /S/) isn[from[i], to[i]] = seq[i]
        if (flags[i] !~ /R/ || isn[from[i], to[i]] != "" || isn[to[i], from[i]] != "") return
        # without a SYN the others may be relative to a packet that is not here
        far = (to[i], from[i]) in acked && distance(seq[i], acked[to[i], from[i]]) > WINDOW
        if (far || (from[i], to[i]) in unknown) seq[i] = acked[to[i], from[i]]
        return
    }
    if (flags[i] ~ /S/) isn[from[i], to[i]] = seq[i]
    if (flags[i] ~ /S/ || !known) take_base(i)
    else if (!numbers_are_absolute) {
        if (seq[i] != "") seq[i] = plus(seq[i], base[from[i], to[i]])
        if (last[i] != "") last[i] = plus(last[i], base[from[i], to[i]])
        ack[i] = plus(ack[i], base[to[i], from[i]])
        if (sacks[i] != "") sacks[i] = absolute_sacks(sacks[i], base[to[i], from[i]])
    }
    acked[from[i], to[i]] = ack[i]
}
function plus(a, b) {
    return (a + b + 2 * WRAP) % WRAP
}
function absolute_sacks(text, from_base,    all, block, number, i) {
    block_count = split(text, block, /[{}]+/)
    all = block[1]
    for (i = 2; i <= block_count; i++)
        if (split(block[i], number, ":") == 2)
            all = all sprintf("{%.0f:%.0f}", plus(number[1], from_base), plus(number[2], from_base))
    return all
}
function write(i,    line) {
    absolute(i)
    line = sprintf("%.6f %s%s > %s: Flags [%s]", time_of(i), words[i], from[i], to[i], flags[i])
    if (seq[i] != "") line = line sprintf(", seq %.0f", seq[i])
    if (last[i] != "") line = line sprintf(":%.0f", last[i])
    if (ack[i] != "") line = line sprintf(", ack %.0f", ack[i])
    if (sacks[i] != "") line = line ", options [" sacks[i] "]"
    print line ", length"
}
