# Says and draws a conversation that states.awk has played.
BEGIN {
    LEFT = 13       # columns left of the bars: a state, or the beginning of a call
    BETWEEN = 26    # columns between the bars
    WORDS = 21      # columns of an arrow's words: "├── ", a space and "▶" stand there as well
    HEADER = 39     # columns before the server's address, so that it stands over its bar
    NO_TIMES = 10   # columns that are not there without times
    LINE = 80
    GAP = 1         # seconds without a packet are a row of their own
    MOST = 20       # rows of data and ACKs alone; of a longer run, only
    FEW = 3         # at its beginning and at its end are drawn
    flags_known = split("S SYN F FIN R RST P PSH U URG E ECE W CWR e AE . ACK", flag, " ")
    split(art, piece, " ")
    V = piece[1]
    L = piece[2]
    R = piece[3]
    H = piece[4]
    TO = piece[5]
    FROM = piece[6]
    X = piece[7]
    DOTS = piece[8]
    for (i = 1; i <= LINE; i++) {
        dashes[i] = dashes[i - 1] H
        blanks[i] = blanks[i - 1] " "
    }
}

# ---- the verdict
function verdict(    text) {
    text = count_of(packets, "packet")
    if (itself) return "one end, connected to itself, " text ": no states."
    if (!whole || !over()) unfinished = 1
    if (over()) {
        text = who() (whole ? " after " text : ", beginning missing") ": " how()
        return text " TIME-WAIT: " waiting() "." forgeries()
    }
    text = (whole ? "end missing after " text : "beginning and end missing") ": "
    if (is_half_open()) text = text "half-open, "
    return text "client " state["C"] ", server " state["S"] "." forgeries()
}
function count_of(number, thing) {
    return number " " thing (number == 1 ? "" : "s")
}
function who(    closer, reset) {
    closer = first_fin()
    if (gave_up) return "client gave up"
    if (!first) return fins_crossed ? "both closed" : name[closer] " closed"
    if (both) reset = "both reset it"
    else if (meant == "SYN-SENT" && fate != "in name") reset = name[resetter()] " refused it"
    else reset = name[resetter()] " reset it"
    if (!closer) return reset
    if (both || closer != resetter()) return name[closer] " closed, " reset
    return name[closer] " closed and reset it"
}
function how() {
    if (gave_up) return "RST, server silent."
    if (!first && fins_crossed) return "FIN both ways at once."
    if (!first) return fin_and_ack_are_one() ? "FIN in three, ACK on FIN." : "FIN in four packets."
    if (fate == "in name") return "RST in the " name[from[first]] "'s name" what_met_it()
    if (first_fin()) return "RST after FIN."
    if (both) return "RST both ways."
    if (meant == "SYN-SENT") return "RST to the SYN."
    if (meant == "SYN-RECEIVED" && syn_ack_met_reset) return "RST to the SYN, ACK."
    if (fate != "believed") return "RST " fate what_met_it()
    return whole ? "RST, no FIN." : "RST."
}
function what_met_it() {
    if (!met) return "."
    return ", " kind_or_data(met) (answer ? " met RST." : ".")
}
function kind_or_data(i) {
    if (kind[i] != "" && kind[i] != "fold") return kind[i]
    return size[i] ? "data" : "ACK"
}
function resetter() {
    return fate == "in name" && answer ? from[answer] : from[first]
}
# The end whose FIN came first, "" if none came, or a RST before it.
function first_fin(    e, closer) {
    for (e in name) if (fin_first[e] && (!closer || fin_first[e] < fin_first[closer])) closer = e
    return closer && first && fin_first[closer] > first ? "" : closer
}
function fin_and_ack_are_one(    closer) {
    closer = first_fin()
    return fin_acked[closer] >= fin_first[peer_of[closer]]
}
function waiting() {
    if (state["C"] == state["S"]) return state["C"] == "CLOSED" ? "nobody" : "both"
    return state["C"] == "TIME-WAIT" ? "client" : state["S"] == "TIME-WAIT" ? "server" : "nobody"
}
# RFC 9293, 3.5.1: an end has a connection of which the other one knows nothing any more.
function is_half_open() {
    if (state["C"] == "CLOSED") return has_connection("S")
    return state["S"] == "CLOSED" && has_connection("C")
}
function has_connection(e) {
    return state[e] ~ /^(ESTABLISHED|FIN-WAIT-[12]|CLOSE-WAIT|CLOSING|LAST-ACK)$/
}
# RSTs that are in an end's name only, and did not decide.
function forgeries() {
    return forgery("C") forgery("S")
}
function forgery(e) {
    if (forged[e] == "" || over() && first && fate == "in name" && from[first] == e) return ""
    return " RST in the " name[e] "'s name" (forged[e] == "ignored" ? ": ignored." : ".")
}
# Which conversation: its time of day, and its ends.
function title(    part, seconds) {
    split(start, part, ".")
    seconds = (part[1] + zone()) % 86400
    return sprintf("%02d:%02d:%02d.%s %s > %s", int(seconds / 3600), int(seconds / 60) % 60, \
        seconds % 60, substr(part[2] "000000", 1, 6), client, server)
}
function zone(    command, text) { # seconds east of UTC, here and on that day
    if (clock != "") return 0 # the times are of that zone already
    if (zone_is_known) return east
    command = "date -d @" int(start) " +%z"
    command | getline text
    close(command)
    zone_is_known = 1
    east = substr(text, 2, 2) * 3600 + substr(text, 4, 2) * 60
    if (text ~ /^-/) east = 86400 - east
    return east
}

# ---- the drawing
function draw(    i, run) {
    if (clock == "untimed") times = ""
    header()
    previous = at[1]
    run = 0
    for (i = 1; i <= n; i++) {
        if (kind[i] == "call" && !times) continue
        if (is_plain(i)) run_of[++run] = i
        else if (kind[i] == "fold") {
            draw_run(run)
            run = 0
            latest = at[i]
            draw_fold(data[i], size[i], shown["C", i], shown["S", i])
        }
        else {
            draw_run(run)
            run = 0
            draw_item(i)
        }
        previous = at[i]
    }
    draw_run(run)
    footer(verdict())
}
# Does the row say nothing but that data or an ACK was sent?
function is_plain(i) {
    return kind[i] == "" && (note[i] == "" || note[i] == " again") && !lost[i] && \
        shown["C", i] == "" && shown["S", i] == "" && !(times && at[i] - previous >= GAP)
}
function draw_run(run,    i) {
    for (i = 1; i <= run; i++) {
        if (run > MOST && i == FEW + 1) {
            fold_rows(FEW + 1, run - FEW)
            i = run - FEW + 1
        }
        draw_item(run_of[i])
    }
}
function fold_rows(one, last,    i, bytes) {
    bytes = 0
    for (i = one; i <= last; i++) bytes += size[run_of[i]]
    latest = at[run_of[last]]
    draw_fold(last - one + 1, bytes, "", "")
}
function draw_fold(count, bytes, left, right,    text, before) {
    text = count " packets, " bytes " bytes"
    if (mermaid) {
        print "    Note over C,S: " text
        draw_mermaid_states(left, right)
        return
    }
    if (length(text) > BETWEEN) {
        text = count " packets"
        right = bytes " bytes" (right == "" ? "" : ", " right)
    }
    before = int((BETWEEN - length(text)) / 2)
    text = V blanks[before] text blanks[BETWEEN - before - length(text)] V
    print beside(DOTS, left) text (right == "" ? "" : "  " right)
}
# What stands left of the bars in a row that has DOTS, one column wide, in place of its time.
function beside(dots, left) {
    if (times) return "   " dots blanks[6] left blanks[LEFT - length(left)]
    return dots " " left blanks[LEFT - 2 - length(left)]
}
function draw_item(i,    text, gap) {
    if (kind[i] == "call") text = data[i]
    else text = packet_text(i)
    gap = times && at[i] - latest >= GAP && i > 1 ? sprintf("%.1f s", at[i] - latest) : ""
    latest = at[i]
    if (mermaid) draw_mermaid(i, as_mermaid(text), gap)
    else draw_row(i, text, gap)
}
function draw_row(i, text, gap,    left, right, rungs, room) {
    left = shown["C", i]
    right = shown["S", i]
    room = LEFT
    rungs = V blanks[BETWEEN] V
    if (kind[i] == "call") {
        left = from[i] == "C" ? text : ""
        right = from[i] == "S" ? text : ""
        if (length(left) >= room) { # it reaches over the left bar
            rungs = V
            room = LEFT + 1 + BETWEEN
        }
    } else if (from[i] == "C") {
        rungs = L H H " " text " " dashes[WORDS - length(text)] (lost[i] ? X : TO) V
    } else rungs = V (lost[i] ? X : FROM) dashes[WORDS - length(text)] " " text " " H H R
    if (gap != "") print gap_row(gap)
    text = left blanks[room - length(left)] rungs (right == "" ? "" : "  " right)
    if (times) print time_of(at[i]) text
    else print text
    if (n <= LONGEST) rows = rows "\n" text
}
function gap_row(gap) {
    return beside(DOTS, "") V blanks[10] gap blanks[16 - length(gap)] V
}
function time_of(seconds) {
    return substr(sprintf("%.6f", seconds - zero), 1, 8) "  "
}
# What an earlier conversation of that shape was, with the times of this one.
function recite(    i, row) {
    if (only_verdict) {
        print title() ": " verdict_of[shape]
        return
    }
    header()
    split(rows_of[shape], row, "\n")
    for (i = 1; i <= lines; i++) {
        if (times && i > 1 && line_time[i] - line_time[i - 1] >= GAP)
            print gap_row(sprintf("%.1f s", line_time[i] - line_time[i - 1]))
        if (times) print time_of(line_time[i]) row[i + 1]
        else print row[i + 1]
    }
    footer(verdict_of[shape])
}
function draw_mermaid(i, text, gap,    arrow) {
    if (gap != "") print "    Note over C,S: " gap
    arrow = lost[i] ? "-x" : "->>"
    if (kind[i] == "call") print "    Note " (from[i] == "C" ? "left of C: " : "right of S: ") text
    else print "    " (from[i] == "C" ? "C" arrow "S: " : "S" arrow "C: ") text
    draw_mermaid_states(shown["C", i], shown["S", i])
}
function draw_mermaid_states(left, right) {
    if (left != "") print "    Note left of C: " left
    if (right != "") print "    Note right of S: " right
}
function as_mermaid(text) {
    gsub(/;/, "\001", text)
    gsub(/#/, "#35;", text)
    gsub(/\001/, "#59;", text)
    gsub(/</, "#60;", text)
    return text
}
function packet_text(i,    text) {
    text = words(flags[i])
    if (data[i] != "") text = text " " data[i]
    else if (size[i]) text = text " " size[i] (size[i] == 1 ? " byte" : " bytes")
    text = text note[i]
    if (length(text) > WORDS) sub(/bytes/, "B", text)
    if (length(text) > WORDS) sub(/PSH, /, "", text)
    if (length(text) > WORDS && note[i] != " again") text = words(flags[i]) note[i]
    return substr(text, 1, WORDS)
}
function words(these,    i, all) { # S. is SYN, ACK
    if (these in words_of) return words_of[these]
    for (i = 1; i < flags_known; i += 2) if (index(these, flag[i])) all = all ", " flag[i + 1]
    return words_of[these] = these ~ /none/ ? "no flags" : substr(all, 3)
}
function header(    subject, left, right, room, format) {
    subject = "tcp " conversations
    if (server ~ /^(127[.]0[.]0[.]1|::1)[.]808[1-9]$/)
        subject = "sample" substr(server, length(server))
    left = "client " address(client)
    right = "server " address(server)
    if (!times) sub(/ ?:[^]:]+$/, "", left)
    if (mermaid) {
        print "```mermaid\nsequenceDiagram"
        print "    participant C as " subject " " left
        print "    participant S as " right
        return
    }
    room = times ? HEADER : HEADER - NO_TIMES
    if (conversations > 1) print ""
    if (length(left) <= room && length(right) <= LINE - 11 - room)
        printf "%-9s %-" room "s %s\n", subject, left, right
    else printf "%-9s %s\n%" LINE "s\n", subject, left, right
    if (times) print " seconds"
}
function address(end,    port) { # of tcpdump's ::1.80 or 127.0.0.1.80
    port = end
    sub(/.*[.]/, ":", port)
    sub(/[.][^.]+$/, "", end)
    return (end == "127.0.0.1" ? "" : index(end, ":") ? "[" end "]" : end) port
}
function footer(text,    cut) {
    if (mermaid) {
        print "    Note over C,S: " text "\n```"
        return
    }
    while (length(text) > LINE) {
        cut = end_of_sentence(text)
        print "  " substr(text, 1, cut)
        text = substr(text, cut + 2)
    }
    print (length(text) > LINE - 2 ? "" : "  ") text
    if (copies) print "  " (copies == 1 ? "1 copy" : copies " copies") " of packets left out."
}
# Where TEXT goes on another line: behind a sentence, else before a word.
function end_of_sentence(text,    i, width) {
    width = LINE - 2
    for (i = width; i > 0; i--) if (substr(text, i, 2) == ". ") return i
    for (i = width; i > 0; i--) if (substr(text, i + 1, 1) == " ") return i
    return width
}
