# Judges a conversation that ladder.awk has collected, and plays it: which state each end is in
# after each item. It knows all packets before it begins; so whether one has reached its receiver
# is told by what came later.
#
# What comes out, of item i: note[i], words for its row; shown["C", i] and shown["S", i], a state
# that begins there; lost[i], if it never reached its receiver. Of the conversation: state[END],
# and for the verdict
#   whole      its SYN is there
#   first      item: the RST that decided, 0 if none; fate, what became of it: believed, crossed,
#              lost, ignored
#   meant      the state in which its receiver was
#   answer     item: the RST that met what was still sent: after a RST that was not believed, what
#              its receiver sent; after one that its sender's TCP has not sent, what that went on
#              to send
#   met        item: what that was
#   both       the receiver of the first sent a RST as well
#   forged[END]  "" or what became of a RST in END's name that its TCP has not sent
BEGIN {
    IN_FLIGHT = 0.2  # seconds: a packet that was sent later after a RST did not merely cross it
    SWAPPED = 0.001  # seconds: as near as this, lo may record two packets in the wrong order
    # RFC 9293, figure 5, from the first FIN on; ? if no beginning was recorded
    sends_fin["?"] = "FIN-WAIT-1"
    sends_fin["SYN-RECEIVED"] = "FIN-WAIT-1"
    sends_fin["ESTABLISHED"] = "FIN-WAIT-1"
    sends_fin["CLOSE-WAIT"] = "LAST-ACK"
    gets_fin["?"] = "CLOSE-WAIT"
    gets_fin["SYN-RECEIVED"] = "CLOSE-WAIT"
    gets_fin["ESTABLISHED"] = "CLOSE-WAIT"
    gets_fin["FIN-WAIT-1"] = "CLOSING"
    gets_fin["FIN-WAIT-2"] = "TIME-WAIT"
    fin_is_acked["FIN-WAIT-1"] = "FIN-WAIT-2"
    fin_is_acked["CLOSING"] = "TIME-WAIT"
    fin_is_acked["LAST-ACK"] = "CLOSED"
}
function play(    i) {
    whole = kind[1] == "SYN"
    state["C"] = itself ? "silent" : whole ? "SYN-SENT" : "?"
    state["S"] = itself || whole ? "silent" : "?"
    drawn["C"] = drawn["S"] = "silent" # is not drawn
    first = answer = both = gave_up = 0
    spoken["C"] = spoken["S"] = 0
    older["C"] = older["S"] = pending["C"] = pending["S"] = closes["C"] = closes["S"] = 0
    forged["C"] = forged["S"] = ""
    for (i in name) if (fin_last[i] != fin_first[i] && !fin_acked[i]) fin_heard[i] = 0
    if (resets) look_back()
    for (i = 1; i <= n; i++) {
        lost[i] = 0
        shown["C", i] = shown["S", i] = ""
        if (kind[i] == "fold" && !itself) {
            step_fold(i, "C", "S")
            step_fold(i, "S", "C")
        } else if (kind[i] != "call" && !itself) step(i, from[i], peer_of[from[i]])
        show("C", i)
        show("S", i)
    }
}
function show(e, i) {
    if (state[e] == drawn[e]) return
    shown[e, i] = drawn[e] = state[e]
}
function step(i, me, peer) {
    if (kind[i] == "SYN") play_syn(me, peer)
    else if (kind[i] == "SYN, ACK") play_syn_ack(i, me, peer)
    else if (kind[i] == "RST") play_reset(i, me, peer)
    else if (kind[i] != "REPLAY") play_rest(i, me, peer)
    if (kind[i] != "RST") spoken[me] = i
    if (closes[me] == i) state[me] = "CLOSED" # now the RST that this has crossed comes
}

function step_fold(i, me, peer) {
    if (folded_ack[me, i] == "") return
    ack[i] = folded_ack[me, i]
    step(i, me, peer)
}

# ---- SYN
function play_syn(me, peer) {
    if (state[me] == "silent") state[me] = state[peer] = "SYN-RECEIVED" # both open at once
    if (state[me] != "CLOSED") return
    state[me] = "SYN-SENT" # it tries again
    first = answer = both = 0
}
function play_syn_ack(i, me, peer) {
    if (state[peer] ~ /^SYN|^[?]/ && syn_ack_came(i, peer)) state[peer] = "ESTABLISHED"
    if (state[me] ~ /silent|[?]|CLOSED/) state[me] = "SYN-RECEIVED"
}
# Not if the SYN comes again; nor if it did before, until the end itself shows that it has a
# connection.
function syn_ack_came(i, e) {
    if (i < syn_last || syn_missed) return 0
    return spoke[e] || !syn_ack_met_reset # a RST of an end without that connection: 3.10.7.1
}

# ---- data, ACK, FIN
function play_rest(i, me, peer) {
    if (state[peer] == "SYN-SENT" && ack[i] != isn[peer] + 1) {
        older[me] = 1 # it knows an older connection
        return
    }
    if (state[peer] == "SYN-SENT" && i < syn_ack_last[me]) {
        note[i] = " ignored" # RFC 9293, 3.10.7.3
        return
    }
    open_up(i, me, peer)
    take_fin_ack(i, me, peer)
    if (kind[i] == "FIN") play_fin(i, me, peer)
}
# An end that sends this has seen what was perhaps not recorded.
function open_up(i, me, peer) {
    if (state[me] == "SYN-SENT") {
        state[me] = "ESTABLISHED"
        if (state[peer] == "silent" && spoke[peer] && !syn_ack_first[peer])
            state[peer] = "ESTABLISHED"
    }
    if (state[me] == "silent" && spoke[peer]) state[me] = "ESTABLISHED"
    if (state[me] == "SYN-RECEIVED" && (size[i] || kind[i] == "FIN" || ack_missed))
        state[me] = "ESTABLISHED"
    if (state[me] == "?" && size[i]) state[me] = state[peer] = "ESTABLISHED"
    if (state[peer] == "SYN-RECEIVED" && i > syn_ack_last[peer] && !ack_missed)
        state[peer] = "ESTABLISHED"
    if (state[peer] == "SYN-SENT") state[peer] = "ESTABLISHED"
}
# A FIN that comes again has not been acknowledged yet, whatever was sent.
function take_fin_ack(i, me, peer) {
    if (!fin_first[peer] || i < fin_first[peer] || ack[i] < fin_end[peer]) return
    if (i > fin_last[peer]) {
        if (state[peer] in fin_is_acked) state[peer] = fin_is_acked[state[peer]]
    } else if (at[fin_last[peer]] - at[i] >= IN_FLIGHT && kind[i] == "" && !size[i]) lost[i] = 1
}
function play_fin(i, me, peer) {
    if (i == fin_first[me] && state[me] in sends_fin) state[me] = sends_fin[state[me]]
    if (!fins_crossed) {
        if (i == fin_heard[me] && state[peer] in gets_fin) state[peer] = gets_fin[state[peer]]
    } else if (i == fin_first[me] && i > fin_first[peer]) state[me] = state[peer] = "CLOSING"
}

# ---- RST
# Walks back from the end: what each RST was followed by, up to a SYN, with which all begins anew.
function look_back(    i, me, peer) {
    forget_what_follows()
    for (i = n; i >= 1; i--) {
        if (kind[i] == "call") continue
        if (kind[i] == "fold") {
            look_back_at(i, "C", folded_ack["C", i], folded_end["C", i])
            look_back_at(i, "S", folded_ack["S", i], folded_end["S", i])
            continue
        }
        me = from[i]
        peer = peer_of[me]
        if (kind[i] == "SYN") forget_what_follows()
        else if (kind[i] == "RST") {
            goes_on[i] = next_of[peer]       # items: the receiver's next packet,
            goes_on_to[i] = last_of[peer]    # its last packet,
            goes_on_until[i] = gap_of[peer]  # its last before the next RST to it,
            more_resets[i] = next_reset[me]  # that RST,
            sender_until[i] = last_of[me]    # and the sender's last packet that is no RST
            receiver_acks[i] = last_ack[peer]
            sender_acks[i] = last_ack[me]
            sender_ends[i] = last_end[me]
            sender_opens[i] = opens_later[me]
            next_reset[me] = i
            gap_of[peer] = 0
        } else {
            look_back_at(i, me, ack[i], seq[i] != "" && end[i] > seq[i] ? end[i] : "")
            if (kind[i] == "SYN, ACK") opens_later[me] = 1
        }
    }
}
function look_back_at(i, me, its_ack, its_end) {
    if (its_ack == "" && its_end == "") return
    next_of[me] = i
    if (!last_of[me]) last_of[me] = i
    if (!gap_of[me]) gap_of[me] = i
    if (its_ack != "" && (last_ack[me] == "" || its_ack > last_ack[me])) last_ack[me] = its_ack
    if (its_end != "" && (last_end[me] == "" || its_end > last_end[me])) last_end[me] = its_end
}
function forget_what_follows(    e) {
    for (e in name) {
        next_of[e] = last_of[e] = gap_of[e] = next_reset[e] = opens_later[e] = 0
        last_ack[e] = last_end[e] = ""
    }
}
# Was the RST sent by the TCP of the end whose address it bears? An abort has seq = SND.NXT, and
# ends it.
function is_own(i,    goes_on_for) {
    if (!sender_until[i]) return 1
    if (sender_opens[i]) return 0
    goes_on_for = at[sender_until[i]] - at[i]
    if (is_past(sender_acks[i], peer_end[i])) return 0 # it acknowledges what came after the RST
    if (is_past(sender_ends[i], seq[i]) && flags[i] ~ /[.]/) return 0
    if (goes_on_for > SWAPPED) {
        if (is_past(sender_ends[i], seq[i])) return 0
        if (is_past(sender_acks[i], own_ack[i])) return 0
    }
    return goes_on_for < IN_FLIGHT
}
# Of numbers that may be unknown.
function is_past(number, limit) {
    return number != "" && limit != "" && number > limit
}
# Has it a number at which its receiver believes it?
function is_acceptable(i, me, peer) {
    if (state[peer] == "SYN-SENT") return ack[i] != "" && ack[i] == isn[peer] + 1 # 3.10.7.3
    if (pending[peer] || own_end[i] == "" || peer_ack[i] == "") return 1 # who knows
    if (seq[i] == peer_ack[i]) return 1 # 3.10.7.4: RCV.NXT
    if (seq[i] == peer_sack[i]) return 1 # Linux, tcp_validate_incoming(): the right edge of a SACK
    if (seq[i] == peer_ack[i] - 1 && state[peer] ~ /CLOSE-WAIT|LAST-ACK|CLOSING/)
        return 1 # Linux, tcp_reset_check()
    return seq[i] > peer_ack[i] && seq[i] <= own_end[i] # if what is on its way has come
}
# What became of an acceptable RST: its receiver believed or ignored it, or has not had it when it
# went on.
function fate_of(i, peer,    next_one) {
    next_one = goes_on[i]
    if (!next_one) return "believed"
    if (state[peer] == "SYN-SENT") return "ignored"
    if (is_past(receiver_acks[i], own_end[i])) return "ignored"
    if (lacks_data(next_one, i)) return "ignored"
    return at[goes_on_until[i]] - at[i] < IN_FLIGHT ? "crossed" : "lost"
}
# The challenge ACK of an end that waits for data which was sent before the RST.
function lacks_data(i, reset) {
    return kind[i] == "" && !size[i] && ack[i] < seq[reset] && ack[i] == peer_ack[reset]
}
function play_reset(i, me, peer,    own, becomes) {
    own = is_own(i)
    if (state[peer] == "silent" && !older[peer] && state[me] ~ /^SYN-SENT|silent$/) {
        play_reset_to_nobody(i, me, own)
        return
    }
    if (!is_acceptable(i, me, peer)) {
        note[i] = own ? " ignored" : " in its name"
        if (!own) forged[me] = "ignored"
        return
    }
    becomes = fate_of(i, peer)
    remember(i, me, peer, own, becomes)
    if (own) {
        if (becomes == "ignored") note[i] = " ignored"
        if (!answers_older(i, me)) state[me] = "CLOSED"
    } else {
        note[i] = " in its name"
        forged[me] = becomes == "lost" ? "ignored" : becomes
        if (state[me] != "silent") shown[me, i] = state[me]
    }
    lost[i] = becomes == "lost"
    if (becomes == "believed") state[peer] = "CLOSED"
    else shown[peer, i] = state[peer]
    if (becomes == "crossed") {
        pending[peer] = 1
        if (!more_resets[i]) closes[peer] = goes_on_to[i]
    }
}
# A RST to an end that has never spoken: its sender takes back its own SYN.
function play_reset_to_nobody(i, me, own) {
    if (!own) {
        note[i] = " in its name"
        forged[me] = "ignored"
    } else if (answers_older(i, me)) note[i] = " ignored"
    else {
        gave_up = state[me] == "SYN-SENT"
        state[me] = "CLOSED"
    }
}
function answers_older(i, me) {
    return state[me] == "SYN-SENT" && seq[i] != isn[me] && seq[i] != isn[me] + 1
}
# For the verdict: the first RST that counts, and what then came of it.
function remember(i, me, peer, own, becomes) {
    if (!first && over() || answers_older(i, me)) return
    if (!first && (own || becomes == "believed" || becomes == "crossed")) {
        first = i
        fate = own ? becomes : "in name"
        meant = state[peer]
        met = goes_on[i]
    } else if (first && own && !answer) {
        if (fate == "in name" ? me != from[first] : me == from[first]) answer = i
        else both = 1
        if (fate == "in name") met = spoken[peer]
    }
}
function over() {
    return (state["C"] ~ /^(CLOSED|TIME-WAIT)$/ || itself) && \
        (state["S"] ~ /^(CLOSED|TIME-WAIT)$/ || gave_up)
}
