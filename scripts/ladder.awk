# Last step of ladder.sh: reads what packets.awk wrote (see its head), sorted. Of each conversation it collects
# all packets (here), judges and plays them (states.awk), and says and draws what came out (draw.awk).
# Variables: art, the characters to draw with; times, mermaid, only_verdict: 1 or empty; $file of the
# environment is for messages. Exit status: 1 the recording is not whole or holds no TCP, 3 some conversation
# is not whole (only_verdict).
#
# The ends are "C" and "S". Of the conversation:
#   client, server  its ends as tcpdump writes them; itself: they are one
#   n               items, each a packet or a call of a program:
#   kind[i]         SYN, "SYN, ACK", FIN, RST, "" (data or an ACK), REPLAY (see take_syn()), or call
#   from[i]         the end that sent or called; to(i) is the other
#   at[i]           its time in seconds; flags[i], size[i] (bytes of data) and data[i] are tcpdump's
#   seq[i], end[i]  first number, and the one after the last; ack[i]: "" if there is none. They go on after
#                   2^32, so that they can be compared; near[END] is a number of END's that they are near to
#   packets, copies how many packets count, and how many are only another view of one
# What was collected of END:
#   sent_to[END]    the number after the last that it sent; sent[END, SEQ]: it has sent a packet from there
#   acked_to[END]   the last that it acknowledged
#   isn[END]        what its SYN bears
#   spoke[END]      item: its last packet that is no bare SYN and no RST
#   syn_ack_first[END], syn_ack_last[END]           items
#   fin_first[END], fin_last[END], fin_end[END]     items of its FIN, first and last time; its number
#   fin_acked[END]  item: the first of the peer that acknowledges its FIN
#   fin_heard[END]  item: the FIN that the peer heard, 0 if none
# and of both: syn_last (item of the last SYN), syn_missed (a SYN came again after the SYN, ACK), ack_missed (a
# SYN, ACK came again after an ACK), fins_crossed (neither end had the other's FIN), resets (how many RSTs).
BEGIN {
    WRAP = 4294967296 # TCP's numbers go round at 2^32
    COPIED = 0.01     # seconds between two views of one packet on "-i any", at most
    name["C"] = "client"
    name["S"] = "server"
    end_of[">"] = end_of["client"] = "C"
    end_of["<"] = end_of["server"] = "S"
    peer_of["C"] = "S"
    peer_of["S"] = "C"
    status = 1
}
$3 == ">" || $3 == "<" {
    take_packet()
    next
}
$3 == "begin" {
    if (conversations) tell()
    conversations++
    begin($4, $5, $6)
    next
}
$3 == "client" || $3 == "server" {
    n++
    kind[n] = "call"
    from[n] = end_of[$3]
    at[n] = $2
    data[n] = substr($0, index($0, $3) + 7)
    next
}
$3 == "clock" { clock = $4 }
$3 == "used" { print $4 >"/dev/fd/3" }
$3 == "end" {
    if (conversations) tell()
    status = only_verdict && unfinished ? 3 : 0
    if (NF > 3) {
        status = 1
        print "ladder.sh: " ENVIRON["file"] ": " substr($0, index($0, "end ") + 4) >"/dev/stderr"
    }
}
END { exit status }

function tell() {
    play()
    if (only_verdict) print title() ": " verdict()
    else draw()
}
function begin(time, one, other,    e) {
    client = one
    server = other
    itself = client == server
    if (conversations == 1) zero = time
    start = time
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
function take_packet(    e, peer) {
    e = end_of[$3]
    peer = peer_of[e]
    if ($9 != "-" && is_copy()) {
        copies++
        return
    }
    n++
    packets++
    from[n] = e
    at[n] = $4
    flags[n] = $5
    size[n] = $8
    kind[n] = replayed ? "REPLAY" : kind_of($5)
    seq[n] = $6 == "-" ? "" : whole_number(e, $6)
    ack[n] = $7 == "-" ? "" : whole_number(peer, $7)
    end[n] = seq[n] + size[n] + ($5 ~ /[SF]/)
    sack[n] = $10 == "-" ? "" : whole_number(peer, $10)
    data[n] = NF > 10 ? substr($0, index($0, $11)) : ""
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
    return kinds[these] = these ~ /R/ ? "RST" : these ~ /S/ ? (these ~ /[.]/ ? "SYN, ACK" : "SYN") : \
        these ~ /F/ ? "FIN" : ""
}
# "-i any" records a packet on each interface that it passes. Is the line another view of one that is there?
# Equal IP ids tell so if the ids of that end do change. Without: a SYN comes again after 1 s at the earliest,
# and after that, packets to which nothing was said in between.
function is_copy(    e, view, before, unanswered) {
    e = $3
    view = e $5 " " $6 " " $7 " " $8
    before = view in viewed && $4 - viewed[view] <= COPIED ? viewed_by[view] : ""
    unanswered = answers_to[view] == views_of[e == ">" ? "<" : ">"]
    viewed[view] = $4
    viewed_by[view] = $9
    answers_to[view] = views_of[e == ">" ? "<" : ">"]
    if (before == "") {
        if (views_of[e] && latest_mark[e] != $9) changes[e] = 1
        latest_mark[e] = $9
        views_of[e]++
        return 0
    }
    if ($9 !~ /^#/) return $9 != before
    if ($9 != before) return 0
    if ($9 != "#0000" && changes[e]) return 1
    return unanswered && (copies > 0 || kind_of($5) == "SYN")
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
