# Reads a Markdown file and does what its reader would do: every command, in a lab; see guide.t.
package Guide;
use strict;
use warnings;
use File::Temp 'tempdir';
use POSIX ();
use Storable qw(store retrieve);
use Time::HiRes 'sleep';
use Lab;

our ($patience, $no_lab) = (1.5, '');    # seconds for a capture that shows nothing; why there is no lab
our %wire = %Lab::wire ? %Lab::wire : (1 => '>S <S. >. >P.4 <. <P.4 >. >F. <. <F. >.',
    map { $_ => '>S <S. >. >P.4 <. <P.4 >. <R.' } 2, 3);
alarm 900;    # against hanging only

# ---- reading -------------------------------------------------------------------------------------
# The page as { problems, commands, units }. A unit is what stands under one heading: { name, text, prose,
# blocks }; its blocks share a copy of the project and a lab. A block is a patch, or commands with outputs.
sub parse {
    my ($file, $text) = @_;
    my %page = (file => $file, text => $text, commands => '', problems => [], units => []);
    my ($marker, $line, $unit) = ('', 1);
    my $problem = sub { push @{ $page{problems} }, "line $line: $_[0]" };
    while ($text =~ /\G(?:( *)```(\w*)\n(.*?)^\1```\n|([^\n]*\n))/gms) {
        my ($all, $indent, $lang, $body, $prose) = ($&, $1, $2, $3, $4);
        push @{ $page{units} }, $unit = { name => "$file:$line $all" =~ s/\n//r,
            map({ $_ => '' } qw(key text prose)) }
            if !$unit || $all =~ /^#/;
        if (!defined $lang) {
            $unit->{prose} .= $prose;
            $problem->('this block has no end') if $prose =~ /^ *```/;
            $problem->("no block after the marker '$marker'") if $marker && $prose =~ /\S/;
            $marker = $prose =~ /^\s*<!-- test: (.*?) -->$/ ? $1 : $prose =~ /\S/ ? '' : $marker;
        } else {
            block(\%page, $unit, $problem, 'sh', "$1\n", '', $line) if $marker =~ s/^output of (.+)//;
            block(\%page, $unit, $problem, $lang, $body =~ s/^$indent//gmr, $marker, $line);
            $marker = '';
        }
        $line += $all =~ tr/\n//;
    }
    return \%page;
}

# Adds a block to UNIT: commands, a patch, or the output of the commands before it.
sub block {
    my ($page, $unit, $problem, $lang, $body, $marker, $line) = @_;
    my $last = ($unit->{blocks} //= [])->[-1];
    my $block = { line => $line, body => $body, lang => $lang, outputs => [] };
    $unit->{text} .= $body;
    if ($lang =~ /^(?:ba)?sh$/) {
        $page->{commands} .= $body;
        return if $marker =~ /^not run, ./;
        $marker =~ /^(?:exit (\d+)|needs (\w+))?$/ or return $problem->("unknown marker '$marker'");
        $block->{status} = $1 // 0;
        $block->{skip} = "$2 is not installed" if $2 && !grep { -x "$_/$2" } split /:/, $ENV{PATH};
        $block->{terminals} = [grep { /^[^#\s]/m } split /^(?=# ターミナル)/m, $body] or $problem->('no command');
        # Live is a capture, and what the next blocks make of it; without a lab, it is not there.
        $block->{live} = $body =~ /tcpdump [^|]*-i |capture\.sh|lab\.sh|\/client|\bss |make demo/ ||
            $unit->{live} && $body !~ m{tests/reference};
        $unit->{live} ||= $block->{live};
        $block->{skip} //= $no_lab || undef if $block->{live};
    } elsif ($marker || $lang !~ /^(?:text|c|diff|mermaid)$/) {
        return $problem->("a block of unknown kind '$lang' $marker");
    } elsif ($lang ne 'diff' || $body !~ /^--- a\//) {
        return $problem->('this output has no command before it')
            if !$last || @{ $last->{outputs} } >= @{ $last->{terminals} // [] };
        return push @{ $last->{outputs} }, $block;
    }
    $block->{key} = $unit->{key} .= "\0$body";
    push @{ $unit->{blocks} }, $block;
}

# ---- doing it ------------------------------------------------------------------------------------
# Does the UNITS, ten at a time, each in a copy of PROJECT, in a lab of its own, and on one CPU: two might
# swap two packets. Returns, by a block's key, a list of { out, status }, one for each terminal.
sub run_units {
    my ($project, @units) = @_;
    my $dir = tempdir(CLEANUP => 1);
    my @cpus = map { /(\d+)-(\d+)/ ? $1 .. $2 : $_ } split /,/,
        (slurp('/proc/self/status') =~ /^Cpus_allowed_list:\s*(.*)/m)[0];
    my $slow = sub { $_[0]{key} =~ /lose-rst|3'|sample3|all/ ? 1 : 0 };    # they begin first
    my $n = 0;
    for my $unit (sort { $slow->($b) <=> $slow->($a) } @units) {
        store [$project, $unit, $patience, $cpus[$n % @cpus]], "$dir/" . ++$n;
    }
    my $pool = start('sh', '-c', 'seq "$0" | xargs -P 10 -n 1 "$@"', $n,
        $no_lab ? () : "$Lab::root/scripts/lab.sh",
        $^X, "-I$Lab::root/tests", '-MGuide', '-e', 'Guide::do_unit(@ARGV)', $dir);
    stop($pool, '0');
    print STDERR slurp($pool->{err});
    return map { -e "$dir/$_.out" ? %{ retrieve("$dir/$_.out") } : () } 1 .. $n;
}

# In the lab: does the blocks of unit N in DIR, one after another.
sub do_unit {
    my ($dir, $n) = @_;
    (my $project, my $unit, $patience, my $cpu) = @{ retrieve("$dir/$n") };
    my (%results, $patch);
    local $SIG{PIPE} = 'IGNORE';    # Ctrl-C for a terminal that has just ended
    `taskset -cp $cpu $$`;
    system('cp', '-a', $project, "$dir/$n.copy") == 0 && chdir "$dir/$n.copy"
        or die "$dir/$n.copy: no copy\n";
    for my $block (grep { !$_->{skip} } @{ $unit->{blocks} }) {
        my @scripts = @{ $block->{terminals} // [] };
        $patch = "\ngit apply <<'END' || exit 99\n$block->{body}END\n" if !@scripts;
        undef $patch if $patch && @scripts && $scripts[0] =~ s/^git apply\b.*|^git checkout .*\K|\A/$patch/m;
        $results{ $block->{key} } = do_block($block, @scripts) if @scripts;
    }
    store \%results, "$dir/$n.out";
    chdir '/';
}

# The samples that a SCRIPT is about.
sub samples {
    my %named = map { $_ => 1 } $_[0] =~ /capture\.sh.* all/ ? 1 .. 3
        : $_[0] =~ /(?:port 808|sample)([123])/g;
    return sort { $a <=> $b } keys %named;
}

# Waits until TERMINAL's commands have ended, or until CODE is true.
sub wait_for {
    my ($terminal, $code) = @_;
    eventually(120, sub {
        return 1 if defined $terminal->{status} || $code && $code->();
        waitpid($terminal->{pid}, POSIX::WNOHANG()) == $terminal->{pid} or return;
        delete $Lab::started{ $terminal->{pid} };
        return defined($terminal->{status} = $? >> 8);
    });
}

# Does the SCRIPTS of BLOCK as its reader would, each in a terminal: captures first, then the sample that they
# are about (if the block does not start it itself), and Ctrl-C when the packets have been seen.
sub do_block {
    my ($block, @scripts) = @_;
    my (@terminals, $captures);
    for my $script (@scripts) {
        my $out = tempdir(CLEANUP => 1) . '/out';
        my $pid = open my $keys, '|-' or do {
            open STDOUT, '>', $out;
            open STDERR, '>&', \*STDOUT;
            exec 'script', '-qec', $script, '/dev/null';
        };
        $Lab::started{$pid} = 1;
        push @terminals, my $terminal = { pid => $pid, keys => $keys, out => $out };
        $terminal->{captures} = $script =~
            /^(?!scripts\/lab)[^#\n]*(?:tcpdump [^|\n]*-i |capture\.sh (?!.*--run))/m;
        $terminal->{serves} = $script =~ /^\.\/sample\d\/server/m;
        $captures ||= $terminal->{captures};
        wait_for($terminal, ($terminal->{captures} || $terminal->{serves}) &&
            sub { slurp($out) =~ /listening on|ready:| listen / });
    }
    if ($captures && "@scripts" !~ /^[^#\n]*\/client/m) {
        my @servers = map { start("./sample$_/server") } samples("@scripts");
        for my $server (@servers) { eventually(120, sub { slurp($server->{out}) =~ / listen / }) }
        stop($_, '0') for map { start("./sample$_/client") } samples("@scripts");
        for my $server (@servers) { eventually(120, sub { slurp($server->{out}) =~ / close$/m }) }
        stop($_) for @servers;
    }
    for my $n (0 .. $#terminals) {
        my $terminal = $terminals[$n];
        my $seen = sub { scalar(() = $_[0] =~ /Flags \[/g) };
        my $packets = $seen->($block->{outputs}[$n]{body} // '')
            || ($scripts[$n] =~ /tcp\[/ ? 1 :    # or more
            map { split ' ', $wire{$_} } samples($scripts[$n]));
        if ($terminal->{captures} && $scripts[$n] =~ /^[^#\n]*(?:>| -w )/m && $scripts[$n] !~ /--print/) {
            sleep $patience;    # into a file tcpdump writes once a second, and nobody sees it
        } elsif ($terminal->{captures}) {
            wait_for($terminal, sub { $seen->(slurp($terminal->{out})) >= $packets });
        }
        syswrite $terminal->{keys}, "\x03" if !defined $terminal->{status};
        wait_for($terminal) or kill 'KILL', $terminal->{pid};
        $terminal->{out} = slurp($terminal->{out}) =~ s/\r//gr =~ s/[^\n]\K\z/\n/r;
        $terminal->{status} = 0 if $terminal->{serves};
        $terminal->{status} = "not $packets packets"
            if $terminal->{captures} && $terminal->{out} !~ /(?<!\d)$packets packet/
            && ($packets > 1 || $terminal->{out} !~ /[1-9] packets/);
    }
    return [map { { out => $_->{out}, status => $_->{status} // 'none' } } @terminals];
}

# ---- comparing -----------------------------------------------------------------------------------
# What differs from run to run becomes a letter; flags, lengths, data and relative numbers stay.
sub pattern {
    local ($_) = @_;
    s/\b\d\d:\d\d:\d\d(\.\d+)?/TIME/g;
    s/\b\d{4}-\d\d-\d\d\b/DATE/g;
    s/(127\.0\.0\.1[.:])(?!808\d\b)\d+/$1PORT/g;
    s/\b(seq|ack|val|ecr) \d{5,}/$1 N/g;
    s/N:\d{5,}/N:N/g;
    s/\b(win|wscale|id|snapshot length) [1-9]\d*/$1 N/g;
    s/\b0x[0-9a-f]{2,4}\b/0xN/g;
    s/\btimewait,\d+sec\b/timewait,T/g;
    s/^\d+\.\d{6}\b/SECONDS/mg;    # of a ladder, with its gaps
    s/(⋮.*)\b\d+\.\d s/$1N s/g;
    s/ +/ /g;
    s/ $//mg;
    return $_;
}

# OUT as the block that shows it should have it. What tcpdump, tshark and a shell whose job was killed say is
# compared only where the page shows it, and Mermaid's fence is the page's own.
sub shown {
    my ($out, $output) = @_;
    my $chatter =
        'Killed$|reading from file|Running as user|(?:tcpdump: )?(?:listening on|verbose out|dropped priv)';
    $out =~ s/^```.*\n//mg if $output->{lang} eq 'mermaid';
    $out =~ s/^(?:$chatter).*\n//mg if $output->{body} !~ /^(?:$chatter)/m;
    return $out;
}

# What terminal T of COMMAND really put out, if that is not what its output block shows.
sub differs {
    my ($command, $t, $results) = @_;
    my $output = $command->{outputs}[$t] or return;
    my ($is, $should) = (shown($results->{ $command->{key} }[$t]{out}, $output), $output->{body});
    ($is, $should) = map { pattern($_) } $is, $should if $command->{live};
    return $is eq $should ? () : $is;
}

# What is wrong with UNIT, given the results of doing it.
sub check {
    my ($unit, $results) = @_;
    my @problems;
    for my $command (grep { $_->{terminals} && !$_->{skip} } @{ $unit->{blocks} }) {
        for my $t (0 .. $#{ $command->{terminals} }) {
            my $at = 'line ' . ($command->{outputs}[$t] // $command)->{line};
            my $result = $results->{ $command->{key} }[$t] or do { push @problems, "$at: not done"; next };
            my $status = $t == $#{ $command->{terminals} } ? $command->{status} : 0;
            push @problems, "$at: exit status $result->{status}\n$result->{out}"
                if $result->{status} ne $status;
            push @problems, map { "$at: the output is not this, but\n$_" } differs($command, $t, $results);
        }
    }
    return @problems;
}

# PAGE's text with every output as it really is.
sub update {
    my ($page, $results) = @_;
    my @lines = split /^/, $page->{text};
    for my $command (grep { $results->{ $_->{key} // '' } }
        map { @{ $_->{blocks} // [] } } @{ $page->{units} }) {
        for my $t (grep { defined differs($command, $_, $results) } 0 .. $#{ $command->{outputs} }) {
            my $output = $command->{outputs}[$t];
            $lines[$output->{line} + $_] = '' for 0 .. ($output->{body} =~ tr/\n//) - 1;
            $lines[$output->{line} - 1] .= shown($results->{ $command->{key} }[$t]{out}, $output);
        }
    }
    return join '', @lines;
}

1;
