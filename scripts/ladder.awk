# Last step of ladder.sh: reads what packets.awk wrote (see its head), sorted. Of each
# conversation it collects all packets (here), judges and plays them (states.awk), and says and
# draws what came out (draw.awk). Variables: art, the characters to draw with; times, mermaid,
# only_verdict: 1 or empty; $file of the environment is for messages. Exit status: 1 the recording
# is not whole or holds no TCP, 3 some conversation is not whole (only_verdict).
#
# The ends are "C" and "S". Of the conversation:
#   client, server  its ends as tcpdump writes them; itself: they are one
#   n               items, each a packet or a call of a program:
#   kind[i]         SYN, "SYN, ACK", FIN, RST, "" (data or an ACK), REPLAY (see take_syn()), call,
#                   or fold (data[i] packets with size[i] bytes; the last numbers that an end sent
#                   and acknowledged in it are folded_end[END, i] and folded_ack[END, i])
#   from[i]         the end that sent or called
#   at[i]           its time in seconds; flags[i], size[i] (bytes of data) and data[i] are tcpdump's
#   seq[i], end[i]  first number, and the one after the last; ack[i]: "" if there is none. They go
#                   on after 2^32, so that they can be compared; near[END] is a number of END's
#                   that they are near to
#   packets, copies how many packets count, and how many are only another view of one
# What was collected of END:
#   sent_to[END]    the number after the last that it sent; sent[END, SEQ]: it has sent a packet
#                   from there
#   acked_to[END]   the last that it acknowledged
#   isn[END]        what its SYN bears
#   spoke[END]      item: its last packet that is no bare SYN and no RST
#   syn_ack_first[END], syn_ack_last[END]           items
#   fin_first[END], fin_last[END], fin_end[END]     items of its FIN, first and last time; its
#                                                   number
#   fin_acked[END]  item: the first of the peer that acknowledges its FIN
#   fin_heard[END]  item: the FIN that the peer heard, 0 if none
# and of both: syn_last (item of the last SYN), syn_missed (a SYN came again after the SYN, ACK),
# ack_missed (a SYN, ACK came again after an ACK), fins_crossed (neither end had the other's FIN),
# resets (how many RSTs).
BEGIN {
    WRAP = 4294967296 # TCP's numbers go round at 2^32
    COPIED = 0.01     # seconds between two views of one packet on "-i any", at most
    name["C"] = "client"
    name["S"] = "server"
    end_of[">"] = end_of["client"] = "C"
    end_of["<"] = end_of["server"] = "S"
    peer_of["C"] = "S"
    peer_of["S"] = "C"
    LONGEST = 20      # packets of a conversation whose shape is remembered: no run in it is folded
    MOST_SHAPES = 1000
    status = 1
}
$3 == "=" || $3 ~ /^[0-9]/ {
    time = $3 == "=" ? $2 : $3
    if ($4 != "-") marked = 1
    run = is_data_or_ack() && (!lines || time - line_time[lines] < GAP) ? run + 1 : 0
    if (run > MOST) {
        fold()
        next
    }
    line[++lines] = $0
    line_time[lines] = time
    if (lines <= LONGEST && !marked) add_to_shape()
    next
}
$3 == "client" || $3 == "server" {
    line[++lines] = $0
    marked = 1
    next
}
$3 == "begin" {
    begin_line = $0
    if (conversations) tell()
    split(begin_line, word, " ")
    conversations++
    if (conversations == 1) zero = word[4]
    start = word[4]
    client = word[5]
    server = word[6]
    lines = marked = run = 0
    shape = client_base = server_base = ""
    next
}
$3 == "clock" { clock = $4 }
$3 == "used" { print $4 >"/dev/fd/3" }
$3 == "end" {
    complaint = NF > 3 ? substr($0, index($0, "end ") + 4) : ""
    if (conversations) tell()
    status = only_verdict && unfinished ? 3 : 0
    if (complaint != "") {
        status = 1
        print "ladder.sh: " ENVIRON["file"] ": " complaint >"/dev/stderr"
    }
}
END { exit status }

# Many conversations are alike: one with the shape of an earlier one, in which nothing hung on
# times, is told in the words of that.
function tell(    i, may_recall) {
    may_recall = !marked && !mermaid && lines <= LONGEST
    if (may_recall && shape in verdict_of) {
        recite()
        return
    }
    begin()
    for (i = 1; i <= lines; i++) {
        $0 = line[i]
        if ($3 == "client" || $3 == "server") take_call()
        else if ($3 == "fold") take_fold(i)
        else take_packet()
    }
    play()
    rows = ""
    if (only_verdict) print title() ": " verdict()
    else draw()
    if (may_recall && shapes < MOST_SHAPES && no_time_counts()) {
        shapes++
        verdict_of[shape] = verdict()
        rows_of[shape] = rows
    }
}
# Long runs of data and ACKs are folded as they come, so that a long transfer takes neither memory
# nor time: of a run, the first and the last few lines are kept, and one in between that stands for
# the rest; of that line f: fold_count[f], fold_bytes[f], and for each WAY fold_from[WAY f],
# fold_end[WAY f] (numbers sent, the first and the one after the last) and fold_ack[WAY f].
function is_data_or_ack() {
    return $4 == "-" && $5 ~ /^.\[P?[.]\]/
}
function fold(    f, i) {
    if (run == MOST + 1) begin_fold()
    f = lines - FEW
    absorb(f, line[f + 1], line_time[f + 1])
    for (i = f + 1; i < lines; i++) {
        line[i] = line[i + 1]
        line_time[i] = line_time[i + 1]
    }
    line[lines] = $0
    line_time[lines] = time
}
function begin_fold(    f, i, last) {
    marked = 1 # it has no shape
    f = lines - MOST + FEW + 1
    last = lines - FEW
    fold_count[f] = fold_bytes[f] = 0
    fold_end[">" f] = fold_end["<" f] = fold_ack[">" f] = fold_ack["<" f] = ""
    for (i = f; i <= last; i++) absorb(f, line[i], line_time[i])
    line[f] = "- - fold"
    for (i = 1; i <= FEW; i++) {
        line[f + i] = line[last + i]
        line_time[f + i] = line_time[last + i]
    }
    lines = f + FEW
}
function absorb(f, text, last_time,    word, part, way) {
    split(text, word, " ")
    split(word[5], part, ",")
    way = substr(word[5], 1, 1) f
    fold_count[f]++
    fold_bytes[f] += part[4]
    line_time[f] = last_time
    if (part[2] != "") {
        if (fold_end[way] == "") fold_from[way] = fold_end[way] = part[2]
        fold_end[way] = later(fold_end[way], part[2] + part[4])
    }
    if (fold_ack[way] == "") fold_acked_from[way] = fold_ack[way] = part[3]
    fold_ack[way] = later(fold_ack[way], part[3])
}
# The later of two numbers; the first one goes on after 2^32.
function later(number, other,    away) {
    away = (other - number) % WRAP
    if (away > WRAP / 2) away -= WRAP
    if (away < -WRAP / 2) away += WRAP
    return away > 0 ? number + away : number
}
# The shape of a conversation: all that its packets say, numbers relative to the first that was
# seen of their end.
function add_to_shape(    part, numbers) {
    split($5, part, ",")
    if (substr($5, 1, 1) == ">") {
        if (client_base == "") client_base = part[2]
        if (server_base == "") server_base = part[3]
        numbers = relative(part[2], client_base) "," relative(part[3], server_base)
    } else {
        if (server_base == "") server_base = part[2]
        if (client_base == "") client_base = part[3]
        numbers = relative(part[2], server_base) "," relative(part[3], client_base)
    }
    shape = shape part[1] "," numbers "," part[4] "," relative(part[5], part[3])
    if (NF > 5) shape = shape substr($0, index($0, " " $6))
}
function relative(number, base) {
    return number == "" ? "" : number - base
}
# states.awk asks for times only if something follows a RST, or a FIN came again.
function no_time_counts() {
    if (fin_first["C"] != fin_last["C"] || fin_first["S"] != fin_last["S"]) return 0
    return !resets || resets == 1 && kind[n] == "RST"
}
function begin(    e) {
    itself = client == server
    n = packets = copies = resets = 0
    syn_last = syn_missed = ack_missed = syn_ack_met_reset = fins_crossed = replayed = 0
    for (e in name) {
        near[e] = sent_to[e] = acked_to[e] = sacked_to[e] = isn[e] = ""
        spoke[e] = syn_ack_first[e] = syn_ack_last[e] = 0
        fin_first[e] = fin_last[e] = fin_acked[e] = fin_heard[e] = 0
    }
    split("", sent)
    split("", viewed)
    views_of[">"] = views_of["<"] = changes[">"] = changes["<"] = 0
}

# ---- collecting
function take_call() {
    n++
    kind[n] = "call"
    from[n] = end_of[$3]
    at[n] = $2
    data[n] = substr($0, index($0, $3) + 7)
}
function take_fold(f) {
    n++
    kind[n] = "fold"
    at[n] = line_time[f]
    packets += fold_count[f]
    size[n] = fold_bytes[f]
    data[n] = fold_count[f]
    note[n] = ""
    folded_end["C", n] = folded_end["S", n] = folded_ack["C", n] = folded_ack["S", n] = ""
    take_folded_end(f, ">")
    take_folded_end(f, "<")
    take_folded_ack(f, ">")
    take_folded_ack(f, "<")
}
function take_folded_end(f, way,    e) {
    e = end_of[way]
    if (fold_end[way f] == "") return
    folded_end[e, n] = whole_number(e, fold_from[way f]) + fold_end[way f] - fold_from[way f]
    if (sent_to[e] == "" || folded_end[e, n] > sent_to[e]) sent_to[e] = near[e] = folded_end[e, n]
}
function take_folded_ack(f, way,    e, peer) {
    e = end_of[way]
    peer = peer_of[e]
    if (fold_ack[way f] == "") return
    ack[n] = whole_number(peer, fold_acked_from[way f]) + fold_ack[way f] - fold_acked_from[way f]
    folded_ack[e, n] = ack[n]
    if (ack[n] > near[peer]) near[peer] = ack[n]
    sack[n] = ""
    take_ack(e, peer)
}
function take_packet(    part, e, peer) {
    if ($4 != "-" && is_copy()) {
        copies++
        return
    }
    split($5, part, ",")
    e = end_of[substr($5, 1, 1)]
    peer = peer_of[e]
    n++
    packets++
    from[n] = e
    at[n] = $3 == "=" ? $2 : $3
    flags[n] = substr(part[1], 2)
    size[n] = part[4]
    kind[n] = replayed ? "REPLAY" : kind_of(flags[n])
    seq[n] = part[2] == "" ? "" : whole_number(e, part[2])
    ack[n] = part[3] == "" ? "" : whole_number(peer, part[3])
    end[n] = seq[n] + size[n] + (flags[n] ~ /[SF]/)
    sack[n] = part[5] == "" ? "" : whole_number(peer, part[5])
    data[n] = NF > 5 ? substr($0, index($0, " " $6) + 1) : ""
    note[n] = ""
    if (kind[n] == "RST") {
        take_reset(e, peer)
        return
    }
    if (kind[n] == "SYN") take_syn(e, peer)
    if (kind[n] == "SYN, ACK") take_syn_ack(e, peer)
    take_numbers(e)
    if (kind[n] == "REPLAY") return
    if (ack[n] != "") take_ack(e, peer)
    if (kind[n] == "FIN") take_fin(e, peer)
}
function kind_of(these) {
    if (these in kinds) return kinds[these]
    kinds[these] = ""
    if (these ~ /F/) kinds[these] = "FIN"
    if (these ~ /S/) kinds[these] = these ~ /[.]/ ? "SYN, ACK" : "SYN"
    if (these ~ /R/) kinds[these] = "RST"
    return kinds[these]
}
# "-i any" records a packet on each interface that it passes. Is the line another view of one that
# is there? Equal IP ids tell so if the ids of that end do change. Without: a SYN comes again
# after 1 s at the earliest, and after that, packets to which nothing was said in between.
function is_copy(    e, other, now, before, unanswered) {
    e = substr($5, 1, 1)
    other = e == ">" ? "<" : ">"
    now = $3 == "=" ? $2 : $3
    before = $5 in viewed && now - viewed[$5] <= COPIED ? viewed_by[$5] : ""
    unanswered = answers_to[$5] == views_of[other]
    viewed[$5] = now
    viewed_by[$5] = $4
    answers_to[$5] = views_of[other]
    if (before == "") {
        if (views_of[e] && latest_mark[e] != $4) changes[e] = 1
        latest_mark[e] = $4
        views_of[e]++
        return 0
    }
    if ($4 !~ /^#/) return $4 != before
    if ($4 != before) return 0
    if ($4 != "#0000" && changes[e]) return 1
    return unanswered && (copies > 0 || $5 ~ /^.\[S/ && $5 !~ /[.]\]/)
}
# NUMBER of END's, near the ones before it, as if numbers did not go round.
function whole_number(e, number,    away) {
    if (near[e] == "") return near[e] = number + 0
    away = (number - near[e]) % WRAP
    if (away > WRAP / 2) away -= WRAP
    if (away < -WRAP / 2) away += WRAP
    return near[e] + away
}
function take_numbers(e) {
    if (end[n] <= seq[n] || seq[n] == "") return
    if (end[n] > sent_to[e] || sent_to[e] == "") sent_to[e] = near[e] = end[n]
    else if ((e, seq[n]) in sent) note[n] = " again" # else it is only out of order
    sent[e, seq[n]] = 1
}
function take_syn(e, peer) {
    if (fin_acked[e] && fin_acked[peer]) { # both have closed: the same packets come again
        replayed = 1
        kind[n] = "REPLAY"
        return
    }
    if (isn[e] == "" && syn_ack_first[peer] == 1) put_first()
    else if (syn_ack_first[peer]) syn_missed = 1
    if (resets) acked_to[e] = acked_to[peer] = "" # it tries again
    isn[e] = seq[syn_last = kind[n] == "SYN" ? n : 1]
}
# The SYN, just read, whose SYN, ACK was recorded before it, becomes the first item.
function put_first() {
    rotate(kind)
    rotate(from)
    rotate(at)
    rotate(flags)
    rotate(size)
    rotate(data)
    rotate(seq)
    rotate(end)
    rotate(ack)
    rotate(sack)
    rotate(note)
    syn_ack_first["S"]++
    syn_ack_last["S"]++
    spoke["S"]++
    spoke["C"] += spoke["C"] > 0
}
function rotate(list,    i, last) {
    last = list[n]
    for (i = n; i > 1; i--) list[i] = list[i - 1]
    list[1] = last
}
function take_syn_ack(e, peer) {
    if (seq[n] != isn[e]) { # what came before it was not of this connection
        isn[e] = seq[n]
        sent_to[e] = ""
        fin_first[e] = fin_last[e] = fin_acked[e] = fin_heard[e] = 0
    }
    if (!syn_ack_first[e]) syn_ack_first[e] = n
    else if (spoke[peer] > syn_ack_first[e]) ack_missed = 1
    syn_ack_last[e] = n
}
function take_ack(e, peer) {
    if (acked_to[e] == "" || ack[n] > acked_to[e]) acked_to[e] = ack[n]
    if (fin_first[peer] && !fin_acked[peer] && ack[n] >= fin_end[peer]) fin_acked[peer] = n
    if (sack[n] != "") sacked_to[e] = sack[n]
    spoke[e] = n
}
function take_fin(e, peer) {
    if (!fin_first[e]) {
        fin_first[e] = n
        fin_end[e] = end[n]
        fins_crossed = fin_first[peer] && !fin_acked[peer]
    }
    fin_last[e] = n
    if (!fin_acked[e]) fin_heard[e] = n
}
# What was known of the numbers when the RST came.
function take_reset(e, peer) {
    resets++
    own_end[n] = sent_to[e]
    own_ack[n] = acked_to[e]
    peer_end[n] = sent_to[peer]
    peer_ack[n] = acked_to[peer]
    peer_sack[n] = sacked_to[peer]
    if (flags[n] !~ /[.]/ && !spoke[e] && syn_ack_last[peer] && seq[n] == ack[syn_ack_last[peer]])
        syn_ack_met_reset = 1
}
