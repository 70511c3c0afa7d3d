# Reads a Markdown page and does what it tells its reader, section by section; see guide.t.
#   parse(FILE)            the page: { file, text, prose, sections }
#   problems(SECTION)      does its commands where they are to be done; what is not as it is printed
# A section is what stands under one heading, those of #### in it: { file, line, heading, steps }.
# A step is a block of commands: { line, side_by_side, status, parts }. A part is what is typed in
# one go, with the output, or the table of packets, that the page shows of it: { script, shown,
# rows }.
package Guide;
use v5.36;
use Lab;

my $left_out = '…';    # in an output: the rest of a line; alone in a line: all lines before

# ---- reading -------------------------------------------------------------------------------------

sub parse ($file) {
    my $page = { file => $file, text => slurp($file), prose => '', sections => [] };
    my $block;
    my $marker = '';
    my $n = 0;
    for my $line (split /^/, $page->{text}) {
        $n++;
        if ($block && $line =~ /^ *```$/) {
            add_block($page->{sections}[-1], $block);
            $block = undef;
        } elsif ($block) {
            $block->{text} .= $line =~ s/^$block->{indent}//r;
        } elsif ($line =~ /^( *)```(\w+)$/) {
            $block = { line => $n, indent => $1, lang => $2, marker => $marker, text => '' };
            $marker = '';
        } elsif ($line =~ /^ *<!-- test: (.+) -->$/) {
            $marker = $1;
        } elsif ($marker eq 'packets' && $line =~ /^\|/) {
            add_row($page->{sections}[-1], $line);
        } else {
            $marker = '' if $marker eq 'packets';
            my $section = { file => $file, line => $n, heading => $line =~ s/\n//r, steps => [] };
            push @{ $page->{sections} }, $section if $line =~ /^#{1,3} /;
            $page->{prose} .= $line;
        }
    }
    die "$file: a block has no end\n" if $block;
    return $page;
}

# Commands become a step; anything else is the output of a part of the last step: of the terminal
# that its marker names, or of the next one.
sub add_block ($section, $block) {
    my ($marker, $text, $line) = @$block{qw(marker text line)};
    if ($block->{lang} eq 'sh') {
        add_step($section, $text, $line, $marker);
        return;
    }
    my $step = $section->{steps}[-1] or die "line $line: an output without commands\n";
    my ($part) = grep { !defined $_->{shown} } @{ $step->{parts} };
    $part = $step->{parts}[$1 - 1] if $marker =~ /^terminal (\d)$/;
    die "line $line: an output without commands\n" if !$part;
    $part->{shown} = $text;
    $part->{line} = $line;
}

# A row of a table that shows a packet of the last step: its direction, and what tcpdump prints.
sub add_row ($section, $row) {
    my ($arrow, $packet) = $row =~ /^\| \d+ (→|←) \| `(.+?)` \|/ or return;
    push @{ $section->{steps}[-1]{parts}[0]{rows} }, "$arrow $packet";
}

sub add_step ($section, $text, $line, $marker) {
    my $step = { line => $line, status => 0 };
    if ($marker =~ /^exit (\d+)$/) {
        $step->{status} = $1;
    } elsif ($marker =~ /^not run, ./) {
        return;
    } elsif ($marker) {
        die "line $line: unknown marker '$marker'\n";
    }
    $step->{side_by_side} = $text =~ /^# (?:ターミナル|terminal )\d/;
    $step->{parts} = [map { { script => $_, line => $line } } split /^(?=# )/m, $text];
    push @{ $section->{steps} }, $step;
}

# ---- doing ---------------------------------------------------------------------------------------

# Does the steps of SECTION, in the current directory; returns what is wrong, a text each.
sub problems ($section) {
    my @problems;
    local $SIG{PIPE} = 'IGNORE';    # Ctrl-C for a terminal that has just ended
    for my $step (@{ $section->{steps} }) {
        my @parts = @{ $step->{parts} };
        my @together = $step->{side_by_side} ? [@parts] : map { [$_] } @parts;
        for my $some (@together) {
            do_parts(@$some);
        }
        for my $part (@parts) {
            my $wanted = $part == $parts[-1] ? $step->{status} : 0;
            for my $problem (problems_of($part, $wanted)) {
                push @problems, "line $part->{line}: $problem:\n$part->{out}";
            }
        }
    }
    return @problems;
}

# What is wrong with PART, which has been done and should have ended with STATUS.
sub problems_of ($part, $status) {
    my @problems;
    push @problems, "exit status $part->{status}" if $part->{status} ne $status;
    push @problems, 'the compiler complains' if $part->{out} =~ /\b(?:warning|error): /;
    push @problems, 'the page shows another output' if defined $part->{shown} && differs($part);
    push @problems, 'the table shows other packets' if $part->{rows} && has_other_rows($part);
    return @problems;
}

# Does PARTS in a terminal each. What captures gets the samples that it is about, unless one of the
# PARTS starts a client, and Ctrl-C when it has seen all their packets.
sub do_parts (@parts) {
    my @begun = map { $_->{script} =~ /^\.\/sample(\d)\/client/mg } @parts;
    my $captures = qr/^(?:sudo tcpdump .*-i |scripts\/capture\.sh\b(?! --run))/m;
    my %captured;
    for my $part (@parts) {
        my $script = $part->{script};
        $part->{serves} = $script =~ /^\.\/sample\d\/server/m;
        $part->{captures} = $script =~ $captures;
        open_terminal($part);
        next if !$part->{captures};
        my @about = $script =~ /(?:port 808|capture\.sh sample)(\d)/g;
        @about = @begun if !@about;
        my @packets = map { split / / } @wire{@about};
        $part->{packets} = @packets;
        @captured{@about} = ();
    }
    my @to_be_begun = @begun ? () : sort keys %captured;
    for my $sample (@to_be_begun) {
        converse($sample);
    }
    for my $part (@parts) {
        end_terminal($part);
    }
}

# The user that the reader is, and whether the reader's sudo gives rights: a lab's user has them in
# the ambient set, root's reader is nobody. Both lose them where the script does not ask for them.
sub as_reader ($script) {
    my $has_rights = $script =~ /^sudo |^scripts\/capture/m;
    my $capturing = '+net_raw,+net_admin';
    my @nobody = qw(setpriv --reuid 65534 --regid 65534 --clear-groups);
    if ($< == 0 && $has_rights) {
        return (@nobody, '--inh-caps', $capturing, '--ambient-caps', $capturing, '--');
    }
    return (@nobody, '--') if $< == 0;
    return () if $has_rights;
    return qw(setpriv --ambient-caps -all --);
}

# Starts the script of PART in a terminal; returns when it is ready for the next one.
sub open_terminal ($part) {
    $part->{file} = tempdir(CLEANUP => 1) . '/out';
    $part->{pid} = open my $keys, '|-' or do {
        open STDOUT, '>', $part->{file} or die;
        open STDERR, '>&', \*STDOUT or die;
        my @command = (as_reader($part->{script}), 'script', '-qec', $part->{script}, '/dev/null');
        exec @command or POSIX::_exit(127);
    };
    $part->{keys} = $keys;
    $Lab::started{ $part->{pid} } = 1;
    my $goes_on = $part->{serves} || $part->{captures};
    my $ready = sub { $goes_on && slurp($part->{file}) =~ /listening on|ready:| listen / };
    eventually(sub { terminal_over($part) || $ready->() });
}

# Whether the script of PART has ended; it is not waited for yet.
sub terminal_over ($part) {
    return slurp("/proc/$part->{pid}/stat") =~ /\) Z /;
}

# Ends PART with Ctrl-C, if it goes on: a capture when it has seen its packets. Sets {out} and
# {status}.
sub end_terminal ($part) {
    my ($script, $packets) = @$part{qw(script packets)};
    my $prints = $script =~ / -l / || $script !~ / -w | > /;    # -l: line by line
    my $all_seen = sub {
        my @seen = slurp($part->{file}) =~ /Flags \[/g;
        return @seen >= $packets;
    };
    if ($part->{captures} && $prints) {
        eventually(sub { terminal_over($part) || $all_seen->() });
    } elsif ($part->{captures}) {
        sleep 2;    # tcpdump gets packets for a file once a second, and nobody sees when
    }
    syswrite $part->{keys}, "\x03" if !terminal_over($part);
    my $status = ended($part);
    $part->{status} = $status eq 'still running' ? $status : $status >> 8;
    $part->{status} = 0 if $part->{serves};
    $part->{out} = slurp($part->{file}) =~ s/\r//gr;
    $part->{out} .= "\n" if $part->{out} =~ /[^\n]\z/;
    return if !$part->{captures};
    $part->{status} = "not $packets packets" if $part->{out} !~ /(?<!\d)$packets packet/;
    $part->{status} = "not $packets packets are printed" if $prints && !$all_seen->();
}

# ---- comparing -----------------------------------------------------------------------------------

# Whether PART has put out something else than the page shows. What tcpdump says beside it does not
# count. What was captured just now may differ in what differs from run to run.
sub differs ($part) {
    my ($out, $shown, $script) = @$part{qw(out shown script)};
    my $beside = qr/(?:tcpdump: )?(?:listening on|verbose output|dropped priv|reading from)/;
    my $count = qr/\d+ packets? (?:captured|received by|dropped by)/;
    $out =~ s/^\^C\n?//mg;
    $out =~ s/^(?:$beside|$count).*\n//mg;
    if ($script !~ /tests\/reference/) {
        $out = same_every_run($out);
        $shown = same_every_run($shown);
    }
    return $out !~ /\A${\ pattern($shown)}\z/;
}

# A regular expression for SHOWN, in which something may be left out.
sub pattern ($shown) {
    my $pattern = '';
    for my $line (split /^/, $shown) {
        if ($line eq "$left_out\n") {
            $pattern .= '(?:.*\n)*';
        } else {
            $pattern .= join '.*', map { quotemeta } split /$left_out/, $line, -1;
        }
    }
    return qr/$pattern/;
}

# Whether the packets that PART has printed are others than those of the table behind it.
sub has_other_rows ($part) {
    my @rows;
    for my $line (split /^/, $part->{out}) {
        my ($to, $packet) = $line =~ /> (\S+): Flags (.*?), (?:win|options)/ or next;
        push @rows, ($to =~ /\.808\d$/ ? '→' : '←') . " $packet";
    }
    return same_every_run("@rows") ne same_every_run("@{ $part->{rows} }");
}

# TEXT with a letter for what differs from run to run; flags, lengths, data, relative numbers stay.
sub same_every_run ($text) {
    local $_ = $text;
    s/\b\d\d:\d\d:\d\d(?:\.\d+)?/TIME/g;
    s/^\d+\.\d{6}\b/SECONDS/mg;
    s/\b\d{4}-\d\d-\d\d\b/DATE/g;
    s/((?:127\.0\.0\.1[.:])|client :)(?!808\d\b)\d+/$1PORT/g;
    s/\b(seq|ack|val|ecr) \d{5,}(?::\d{5,})?/$1 N/g;
    s/\b(win|wscale|id|snapshot length) [1-9]\d*/$1 N/g;
    s/\b0x[0-9a-f]{2,4}\b/0xN/g;
    s/\btimewait,[45]\dsec\b/timewait,T/g;    # of 60; a slow machine looks late
    s/ +/ /g;
    s/ $//mg;
    return by_end($_);
}

# The lines of a drawing: first the packets, then what the client calls, then what the server calls.
# Each keeps its order from run to run, and the calls of one may fall between others of the packets.
sub by_end ($text) {
    my @lines = map { [] } 1 .. 3;
    for my $line (split /^/, $text) {
        my $is_call = $line =~ /^SECONDS / && $line !~ /-- /;
        my $whose = !$is_call ? 0 : $line =~ /\|$/ ? 1 : 2;
        push @{ $lines[$whose] }, $line;
    }
    return join '', map { @$_ } @lines;
}
1;
