# Does what the reader of a Markdown file would do: every command, in a lab; see guide.t.
package Guide;
use v5.36;
use Storable qw(store retrieve);
use Lab;

alarm 3600;    # against hanging only

# ---- reading -------------------------------------------------------------------------------------
# The page as { text, problems, commands (their text), units, outputs }. A unit is what stands under one
# heading: { name, text (of its blocks), prose, blocks }; its blocks share a copy of the project and a lab.
# A block is commands, or a patch; an output belongs to a terminal of the block {of}.
sub parse ($file, $text) {
    my %page = (file => $file, text => $text, commands => '', map { $_ => [] } qw(problems units outputs));
    my ($line, $unit) = 1;
    while ($text =~ /\G(?:(<!-- test: ([^\n]*) -->\n)?( *)```(\w*)\n(.*?)^\3```\n|([^\n]*\n))/gms) {
        my ($all, $marker, $indent, $lang, $body, $prose) = ($&, $2 // '', $3, $4, $5, $6);
        $line++ if $1;
        push @{ $page{units} }, $unit = { name => "$file:$line $all" =~ s/\n//r, blocks => [],
            map { $_ => '' } qw(text prose) } if !$unit || $all =~ /^#/;
        $unit->{prose} .= $prose // '';
        my @problems = ($prose // '') =~ /^ *(?:```|<!-- test:)/ ? 'no block, or one without an end' : ();
        push @problems, block(\%page, $unit, 'sh', "$1\n", '', $line) if $marker =~ s/^output of (.+)//;
        push @problems, block(\%page, $unit, $lang, $body =~ s/^$indent//gmr, $marker, $line)
            if !defined $prose;
        push @{ $page{problems} }, map { "line $line: $_" } @problems;
        $line += defined $body ? 2 + $body =~ tr/\n// : 1;
    }
    return \%page;
}

# Adds a block to UNIT: commands, a patch, or the output of the commands before it. Returns what is wrong.
sub block ($page, $unit, $lang, $body, $marker, $line) {
    my $last = $unit->{blocks}[-1];
    my $block = { line => $line, body => $body, lang => $lang, outputs => [], terminals => [] };
    $unit->{text} .= $body;
    if ($lang eq 'sh') {
        $page->{commands} .= $body;
        return if $marker =~ /^not run, ./;
        $marker =~ /^(?:exit (\d+)|needs (\w+))?$/ or return "unknown marker '$marker'";
        $block->{status} = $1 // 0;
        $block->{skip} = "$2 is not installed" if $2 && !which($2);
        $block->{terminals} = [grep { /^[^#\s]/m } split /^(?=# ターミナル)/m, $body];
        # Live is a capture, and what the next blocks make of it.
        $block->{live} = $body =~ /tcpdump [^|]*-i |capture\.sh|lab\.sh|\/client|\bss |make demo/ ||
            $unit->{live} && $body !~ m{tests/reference};
        $unit->{live} ||= $block->{live};
    } elsif ($marker || $lang !~ /^(?:text|c|diff|mermaid)$/) {
        return "a block of unknown kind '$lang' $marker";
    } elsif ($lang ne 'diff' || $body !~ /^--- a\//) {
        $last && $last->{terminals}[@{ $last->{outputs} }] or return 'this output has no command before it';
        push @{ $_->{outputs} }, $block for $page, $last;
        return;
    }
    push @{ $unit->{blocks} }, $block;
    return;
}

# ---- doing it ------------------------------------------------------------------------------------
# Does the UNITS, ten at a time, each in a copy of PROJECT and in a lab of its own; all on one CPU, for two
# might swap two packets. Each block's {did} is then a list of { out, status }, one for each terminal.
sub run_units ($project, @units) {
    my $dir = tempdir(CLEANUP => 1);
    my ($n, $slow) = (0, qr/sample3|lose-rst/);    # they begin first
    @units = sort { ($b->{text} =~ $slow) <=> ($a->{text} =~ $slow) } @units;
    store [$project, $_], "$dir/" . ++$n for @units;
    my $pool = start(pinned('sh', '-c', 'seq "$0" | xargs -r -P 10 -n 1 "$@"', $n, "$root/scripts/lab.sh",
        $^X, "-I$root/tests", '-MGuide', '-e', 'Guide::do_unit(@ARGV)', $dir));
    stop($pool, 0);
    print STDERR slurp($pool->{err});
    -e "$dir/$_.out" and $units[$_ - 1]{blocks} = retrieve("$dir/$_.out") for 1 .. $n;
}

# In the lab: does the blocks of unit N in DIR, one after another.
sub do_unit ($dir, $n) {
    my ($project, $unit, $patch) = @{ retrieve("$dir/$n") };
    local $SIG{PIPE} = 'IGNORE';    # Ctrl-C for a terminal that has just ended
    system('cp', '-a', $project, "$dir/$n.copy") == 0 && chdir "$dir/$n.copy" or die "no copy\n";
    for my $block (grep { !$_->{skip} } @{ $unit->{blocks} }) {
        my @scripts = @{ $block->{terminals} };
        $patch = "\ngit apply <<'END' || exit 99\n$block->{body}END\n" if !@scripts;
        undef $patch if $patch && @scripts && $scripts[0] =~ s/^git apply\b.*|^git checkout .*\K|\A/$patch/m;
        $block->{did} = do_block($block, @scripts) if @scripts;
    }
    store $unit->{blocks}, "$dir/$n.out";
    chdir '/';
}

# Does the SCRIPTS of BLOCK as its reader would, each in a terminal: captures first, then the sample that they
# are about (if the block does not start it itself), and Ctrl-C when the packets have been seen.
sub do_block ($block, @scripts) {
    my (@terminals, %samples);
    for my $script (@scripts) {
        my $out = tempdir(CLEANUP => 1) . '/out';
        my $pid = open my $keys, '|-' or do {
            open STDOUT, '>', $out;
            open STDERR, '>&', \*STDOUT;
            exec 'script', '-qec', $script, '/dev/null';
        };
        $Lab::started{$pid} = 1;
        push @terminals, my $terminal = { pid => $pid, keys => $keys, out => $out };
        $terminal->{serves} = $script =~ /^\.\/sample\d\/server/m;
        $terminal->{captures} = $script =~
            /^(?!scripts\/lab)[^#\n]*(?:tcpdump [^|\n]*-i |capture\.sh (?!.*--run))/m;
        @samples{ $script =~ /(?:port 808|sample)([123])/g } = () if $terminal->{captures};
        my $ready = $terminal->{captures} || $terminal->{serves};
        eventually(sub { over($terminal) || $ready && slurp($out) =~ /listening on|ready:| listen / }, 1200);
    }
    for my $n ("@scripts" =~ /^[^#\n]*\/client/m ? () : sort keys %samples) {
        my $server = serve("./sample$n/server");
        run("./sample$n/client");
        shows($server, qr/ close$/m);
        stop($server);
    }
    return [map { end_terminal($terminals[$_], $scripts[$_], $block->{outputs}[$_]) } 0 .. $#terminals];
}

sub over ($terminal) { return slurp("/proc/$terminal->{pid}/stat") =~ /\) Z / }

# Ends TERMINAL; a capture when it has seen the packets that its OUTPUT shows, or its samples send.
sub end_terminal ($terminal, $script, $output) {
    my $seen = sub { scalar(() = $_[0] =~ /Flags \[/g) };
    my @sent = map { split ' ', $wire{$_} } $script =~ /(?:port 808|capture\.sh.* sample)([123])/g;
    my $packets = $output && $seen->($output->{body}) || @sent;
    if ($terminal->{captures} && $script =~ /^[^#\n]*(?:>| -w )/m && $script !~ /--print/) {
        sleep 2;    # into a file tcpdump writes once a second, and nobody sees it
    } elsif ($terminal->{captures}) {
        eventually(sub { over($terminal) || $seen->(slurp($terminal->{out})) >= $packets });
    }
    syswrite $terminal->{keys}, "\x03" if !over($terminal);
    my $ended = ended($terminal);
    my $status = $ended eq 'still running' ? 'none' : $ended >> 8;
    my $out = slurp($terminal->{out}) =~ s/\r//gr =~ s/[^\n]\K\z/\n/r;
    $status = 0 if $terminal->{serves};
    $status = "not $packets packets" if $terminal->{captures} && $out !~ /(?<!\d)$packets packet/;
    return { out => $out, status => $status };
}

# ---- comparing -----------------------------------------------------------------------------------
# What differs from run to run becomes a letter; flags, lengths, data and relative numbers stay.
sub pattern ($text) {
    local $_ = $text;
    s/\b\d\d:\d\d:\d\d(\.\d+)?/TIME/g;
    s/\b\d{4}-\d\d-\d\d\b/DATE/g;
    s/(127\.0\.0\.1[.:])(?!808\d\b)\d+/$1PORT/g;
    s/\b(seq|ack|val|ecr) \d{5,}(:\d{5,})?/$1 N/g;
    s/\b(win|wscale|id|snapshot length) [1-9]\d*/$1 N/g;
    s/\b0x[0-9a-f]{2,4}\b/0xN/g;
    s/\btimewait,\d+sec\b/timewait,T/g;
    return s/ +/ /gr =~ s/ $//mgr;
}

# Whether OUT, what a terminal really put out, is not the OUTPUT of BLOCK. What tcpdump, tshark and a shell
# whose job was killed say counts only where the page shows it, and Mermaid's fence is the page's own.
sub differs ($block, $output, $out) {
    my $chatter = 'Killed$|reading from|Running as|(?:tcpdump: )?(?:listening on|verbose out|dropped priv)';
    $out =~ s/^```.*\n//mg if $output->{lang} eq 'mermaid';
    $out =~ s/^(?:$chatter).*\n//mg if $output->{body} !~ /^(?:$chatter)/m;
    return $block->{live} ? pattern($out) ne pattern($output->{body}) : $out ne $output->{body};
}

# What is wrong with UNIT, which has been done.
sub check ($unit) {
    my @problems;
    for my $block (grep { !$_->{skip} } @{ $unit->{blocks} }) {
        for my $t (0 .. $#{ $block->{terminals} }) {
            my $did = $block->{did}[$t] // { out => '', status => 'not done' };
            my $output = $block->{outputs}[$t];
            my $at = 'line ' . ($output // $block)->{line};
            push @problems, "$at: exit status $did->{status}\n$did->{out}"
                if $did->{status} ne ($t == $#{ $block->{terminals} } ? $block->{status} : 0);
            push @problems, "$at: the output is not this, but\n$did->{out}"
                if $output && differs($block, $output, $did->{out});
        }
    }
    return @problems;
}

1;
