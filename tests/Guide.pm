# Reads a Markdown file and does what its reader would do: every command, in a lab; see guide.t.
package Guide;
use strict;
use warnings;
use utf8;
use Encode qw(decode encode);
use File::Temp 'tempdir';
use POSIX ();
use Storable qw(store retrieve);
use Time::HiRes qw(sleep time);
use Lab;

my @wire = ('', 'S S. . P. . P. . F. . F. .', ('S S. . P. . P. . R.') x 2);    # of each sample
my $terminal = encode('UTF-8', '# ターミナル');
# What tcpdump, tshark and a shell whose job was killed say: compared only where the page shows it.
my $chatter = qr/^(?:Killed$|reading from file|Running as user|(?:tcpdump: )?(?:listening on|verbose output|dropped priv))/;

# The page as { problems, units }. A unit is what stands under one heading: its commands share a
# copy of the project and a lab. Its blocks are { kind: sh|patch|output, body, line, ... }.
sub parse {
    my ($text, $name) = @_;
    my %page = (problems => [], units => [], prose => '');
    my ($block, $fence, $marker, $number) = (undef, '', '', 0);
    my $open = sub { push @{ $page{units} }, { name => "$name:$number $_[0]", chain => $name, blocks => [] } };
    $open->('');
    for (split /^/, $text) {
        $number++;
        if ($block) {
            if (/^$fence```\s*$/) { add(\%page, $page{units}[-1], $block); undef $block; next }
            s/^$fence//;
            $block->{body} .= $_;
            next;
        }
        $page{prose} .= $_;
        if (/^(\s*)```(\w*)\s*$/) {
            $fence = $1;
            $block = { lang => $2, line => $number, body => '', marker => $marker };
            $marker = '';
        } elsif (/^(#+) (.*)/) {
            $open->($2);
        } elsif (/^\s*<!-- test: (.*?) -->\s*$/) {
            $marker = $1;
        } elsif (/\S/ && !/^<!--/) {
            push @{ $page{problems} }, "line $number: no block after the marker '$marker'" if $marker;
            $marker = '';
        }
    }
    push @{ $page{problems} }, "line $number: the last block has no end" if $block;
    $page{units} = [grep { @{ $_->{blocks} } } @{ $page{units} }];
    return \%page;
}

# Sorts BLOCK into UNIT: a command, a patch, or the output of the command before it.
sub add {
    my ($page, $unit, $block) = @_;
    if ($block->{marker} =~ /^output of (.+)/) {
        $block->{marker} = '';
        add($page, $unit, { lang => 'sh', line => $block->{line}, body => "$1\n", marker => '' });
    }
    my ($lang, $body, $marker) = @$block{qw(lang body marker)};
    my $problem = sub { push @{ $page->{problems} }, "line $block->{line}: $_[0]" };
    my ($last) = grep { $_->{kind} eq 'sh' } reverse @{ $unit->{blocks} };
    if ($lang eq 'sh' || $lang eq 'bash') {
        return if $marker =~ /^not run, ./;
        return $problem->("unknown marker '$marker'") if $marker !~ /^(?:exit (\d+)|needs (\w+))?$/;
        $block->{status} = $1 // 0;
        $block->{skip} = $2 && !grep { -x "$_/$2" } split /:/, $ENV{PATH};
        $block->{kind} = 'sh';
        $block->{terminals} = [grep { /^[^#\s]/m } split /^(?=$terminal)/m, $body];
        $block->{live} = $body =~ /tcpdump [^|]*-i |capture\.sh|\/client|\bss /;
        $block->{outputs} = [];
        $problem->('no command in it') if !@{ $block->{terminals} };
        my $lines = () = $body =~ /^[^#\s]/mg;
        $block->{single} = $lines == 1 && $body !~ />| -w |\.log|captures\// && !grep { $_->{kind} eq 'patch' } @{ $unit->{blocks} };
    } elsif ($marker) {
        return $problem->("unknown marker '$marker'");
    } elsif ($lang eq 'diff' && $body =~ /^--- a\//) {
        $block->{kind} = 'patch';
    } elsif ($lang =~ /^(?:text|c|diff|mermaid)$/) {
        return $problem->('this output has no command before it')
            if !$last || $last != $unit->{blocks}[-1] || @{ $last->{outputs} } >= @{ $last->{terminals} };
        push @{ $last->{outputs} }, $block;
        return;
    } else {
        return $problem->("a block of unknown kind '$lang'");
    }
    $block->{chained} = $block->{single} ? '' : $unit->{name};
    $block->{key} = $block->{single} ? $body : $unit->{chain} .= "\0$body";
    push @{ $unit->{blocks} }, $block;
}

# ---- doing it ------------------------------------------------------------------------------------
# Does what the units ask for, in JOBS labs at the same time, and adds it to RESULTS: by a block's
# key, a list of { out, status } by terminal. A unit's commands and patches are done in
# order, in a copy of PROJECT of their own; but a single command that leaves no file is done once,
# wherever there is time, however often the page has it.
sub run_units {
    my ($project, $jobs, $results, @units) = @_;
    my $dir = tempdir(CLEANUP => 1);
    my (%chain, %time, %job, %busy);
    for my $block (grep { !$_->{skip} } map { @{ $_->{blocks} } } @units) {
        my $name = $block->{chained} || $block->{key};
        next if $chain{$name} && !$block->{chained};
        push @{ $chain{$name} }, $block;
        local $_ = $block->{body};
        $time{$name} += !$block->{live} ? 0.05 : /lose-rst/ ? 5.3 : /sample3|8083|run all/ ? 3.2 : /sudo.*(?: -w |>)|sleep/ ? 1.6 : 0.3;
    }
    for my $name (sort { $time{$b} <=> $time{$a} || $a cmp $b } keys %chain) {
        my ($first) = sort { ($busy{$a} // 0) <=> ($busy{$b} // 0) || $a <=> $b } 1 .. $jobs;
        push @{ $job{$first} }, $chain{$name};
        $busy{$first} += $time{$name};
    }
    my %running;
    for my $n (keys %job) {
        store { project => $project, copy => "$dir/$n", chains => $job{$n} }, "$dir/$n.in";
        my $pid = fork // die "fork: $!";
        if (!$pid) {
            open STDERR, '>', "$dir/$n.err";
            exec "$Lab::root/scripts/lab.sh", $^X, "-I$Lab::root/tests", '-MGuide', '-e', 'Guide::do_job(@ARGV)', "$dir/$n";
        }
        $running{$pid} = $n;
    }
    while (%running) {
        my $n = delete $running{ waitpid -1, 0 } // next;
        my $done = eval { retrieve("$dir/$n.out") } // {};
        @$results{ keys %$done } = values %$done;
        print STDERR slurp("$dir/$n.err");
    }
}

# In the lab: does the chains of blocks in FILE.in, one after another.
sub do_job {
    my ($file) = @_;
    my $job = retrieve("$file.in");
    my ($number, %results) = 0;
    local $SIG{PIPE} = 'IGNORE';    # a key for a terminal that has just ended
    for my $chain (@{ $job->{chains} }) {
        my $copy = $job->{copy} . ($chain->[0]{chained} && '.' . ++$number);
        -d $copy || system('cp', '-a', $job->{project}, $copy) == 0 or die "$copy: no copy\n";
        chdir $copy or die "$copy: $!\n";
        for my $block (@$chain) {
            if ($block->{kind} eq 'sh') { $results{ $block->{key} } = do_block($block); next }
            open my $patch, '|-', 'git', 'apply', '-' or die "git: $!";
            print $patch $block->{body};
            close $patch or warn("line $block->{line}: this patch does not apply\n"), last;
        }
    }
    chdir '/';
    store \%results, "$file.out";
}

# Types SCRIPT into a terminal of its own.
sub terminal {
    my ($script) = @_;
    my $dir = tempdir(CLEANUP => 1);
    open my $file, '>', "$dir/script" or die;
    print $file $script;
    close $file;
    my $pid = open my $keys, '|-' or do {
        open STDOUT, '>', "$dir/out";
        open STDERR, '>&', \*STDOUT;
        exec 'script', '-qec', "bash $dir/script", '/dev/null';
    };
    $Lab::started{$pid} = 1;
    return { pid => $pid, keys => $keys, out => "$dir/out", script => $script };
}

# The samples that SCRIPT is about.
sub samples {
    my ($script) = @_;
    my %named = map { $_ => 1 } $script =~ /--run all/ ? 1 .. 3 : $script =~ /(?:port 808|sample)([123])/g;
    return sort keys %named;
}

# Waits until TERMINAL's commands have ended; at most 15 s, then it is closed.
sub ended {
    my ($terminal) = @_;
    eventually(15, sub { waitpid($terminal->{pid}, POSIX::WNOHANG()) == $terminal->{pid}
        and do { $terminal->{status} = $? >> 8; 1 } }) or do {
        kill 'KILL', $terminal->{pid};
        waitpid $terminal->{pid}, 0;
        $terminal->{status} = 'none, it did not end';
    };
    delete $Lab::started{ $terminal->{pid} };
}

# Does one block of commands as its reader would: captures first, then the sample that they are
# about (if the block does not start it itself), and Ctrl-C when the packets have been seen.
sub do_block {
    my ($block) = @_;
    my $text = $block->{body};
    my (@captures, @servers, @terminals);
    for my $script (@{ $block->{terminals} }) {
        my $terminal = terminal($script);
        push @terminals, $terminal;
        my $captures = $script =~ /^(?!scripts\/lab)[^#\n]*(?:tcpdump [^|\n]*-i |capture\.sh (?!.*--run))/m;
        my $serves = $script =~ /^\.\/sample\d\/server/m;
        push @captures, $terminal if $captures;
        push @servers, $terminal if $serves;
        if ($captures || $serves) {
            eventually(10, sub { slurp($terminal->{out}) =~ /listening on|ready:| listen / });
        } else {
            ended($terminal);
        }
    }
    if (@captures && $text !~ /\/client/) {
        my @server = map { start("./sample$_/server") } samples($text);
        for my $server (@server) { eventually(5, sub { slurp($server->{out}) =~ / listen / }) }
        stop($_, '0') for map { start("./sample$_/client") } samples($text);
        for my $server (@server) { eventually(5, sub { slurp($server->{out}) =~ / close$/m }); stop($server) }
    }
    for my $n (0 .. $#terminals) {
        my $terminal = $terminals[$n];
        next if defined $terminal->{status};
        if (grep { $_ == $terminal } @captures) {
            my $output = $block->{outputs}[$n]{body} // '';
            my $packets = $output =~ /Flags/ ? () = $output =~ /Flags/g : map { split ' ', $wire[$_] } samples($terminal->{script});
            # Into a file tcpdump writes once a second, and nobody sees it.
            if ($terminal->{script} =~ /^[^#\n]*(?:>| -w )/m && $terminal->{script} !~ /--print/) { sleep 1.5 }
            else { eventually(5, sub { (() = slurp($terminal->{out}) =~ /Flags \[/g) >= $packets }) }
        }
        syswrite $terminal->{keys}, "\x03";
        ended($terminal);
        $terminal->{status} = 0 if grep { $_ == $terminal } @servers;
    }
    return [map { { out => slurp($_->{out}) =~ s/\r//gr =~ s/[^\n]\K\z/\n/r, status => $_->{status} } } @terminals];
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
    s/\bwin [1-9]\d*/win W/g;
    s/\bwscale \d+/wscale W/g;
    s/\bid \d+/id N/g;
    s/\b0x[0-9a-f]{2,4}\b/0xN/g;
    s/\btimewait,\d+sec\b/timewait,T/g;
    s/(snapshot length) \d+/$1 N/g;
    s/PortProcess/Port Process/g;
    s/ +/ /g;
    s/ $//mg;
    return $_;
}

# RESULT's output as the block that shows it should have it.
sub shown {
    my ($out, $output) = @_;
    $out =~ s/^```.*\n//mg if $output->{lang} eq 'mermaid';    # the page has its own
    return $out if $output->{body} =~ /$chatter/m;
    return join '', grep { !/$chatter/ } split /^/, $out;
}

# What terminal T of COMMAND really put out, if that is not what its output block shows.
sub differs {
    my ($command, $t, $results) = @_;
    my $output = $command->{outputs}[$t];
    my ($is, $should) = (shown($results->{ $command->{key} }[$t]{out}, $output), $output->{body});
    ($is, $should) = map { pattern($_) } $is, $should if $command->{live};
    return $is eq $should ? () : $is;
}

# Whether OUT, of a capture without an output block, has the packets of its samples, and -X their
# data; where nothing is printed, whether so many have been captured.
sub packets {
    my ($script, $out) = @_;
    my @samples = samples($script);
    my @should = map { split ' ', $wire[$_] } @samples;
    my @is = $out =~ /Flags \[(\S+)\]/g or return $out =~ /(?<!\d)(\d+) packets(?: captured|, )/ && $1 == @should;
    return 0 if $script =~ / -X/ && !($out =~ /ABCD$/m && $out =~ /CDEF$/m);
    return @samples > 1 ? "@{[sort @is]}" eq "@{[sort @should]}" : "@is" eq "@should";    # several are mixed
}

# What is wrong with UNIT, given the results of doing it.
sub check {
    my ($unit, $results) = @_;
    my @problems;
    for my $command (grep { $_->{kind} eq 'sh' && !$_->{skip} } @{ $unit->{blocks} }) {
        my $at = "line $command->{line}";
        my $last = $#{ $command->{terminals} };
        for my $t (0 .. $last) {
            my $result = $results->{ $command->{key} }[$t] or do { push @problems, "$at: not done"; next };
            my ($out, $status) = @$result{qw(out status)};
            push @problems, "$at: exit status $status\n$out" if $status ne ($t == $last ? $command->{status} : 0);
            if ($command->{outputs}[$t]) {
                push @problems, map { "line $command->{outputs}[$t]{line}: the output is not this, but\n$_" }
                    differs($command, $t, $results);
            } elsif ($command->{terminals}[$t] =~ /(?:tcpdump .*-i|capture\.sh) /) {
                push @problems, "$at: not the packets of its sample\n$out" if !packets($command->{terminals}[$t], $out);
            }
        }
    }
    return @problems;
}

# What is wrong with the PAGE beside its blocks: links and file names that lead nowhere, flags in a
# table (and "sampleN の M 番目" beside them) that no reference recording has, sudo without the lab.
sub check_prose {
    my ($page) = @_;
    my @problems;
    my (%anchor, %seen, %flags);
    my $prose = decode('UTF-8', $page->{prose});
    for ($prose =~ /^#+ (.*)/mg) {    # as GitHub makes them
        my $anchor = lc =~ s/[^\w\s-]//gr =~ s/\s/-/gr;
        $anchor{ $anchor . ($seen{$anchor}++ ? '-' . ($seen{$anchor} - 1) : '') } = 1;
    }
    for ($prose =~ /\]\(([^)]+)\)/g) {
        push @problems, "a link to $_" unless /^https:/ || (/^#(.*)/ ? $anchor{$1} : -e);
    }
    for ($prose =~ /`((?:scripts|tests|sample\d)\/[\w.\/-]*)/g) { push @problems, "no file $_" unless -e }
    for my $pcap (glob 'tests/reference/*.pcap') {
        my ($name) = $pcap =~ /([^\/]+)\.pcap/;
        my $n = 0;
        $flags{$_}{ $name . ++$n } = 1 for `tcpdump -nn -r $pcap 2>/dev/null` =~ /Flags \[(\S+)\]/g;
    }
    for my $row ($prose =~ /^\|.*`.*/mg) {
        for my $code ($row =~ /`(\[[A-Z.]+\]|[A-Z.])`/g) {
            my ($bare) = $code =~ /([A-Z.]+)/;
            my @has = grep { $code =~ /^\[/ ? $_ eq $bare : /\Q$bare/ } keys %flags;
            push @problems, "no packet has $code" if !@has;
            push @problems, "$1$2 has no $code" if $row =~ /(sample\d) の (\d+) 番目/ && !grep { $flags{$_}{"$1$2"} } @has;
        }
    }
    for my $unit (@{ $page->{units} }) {
        my $text = join '', map { $_->{body} } @{ $unit->{blocks} };
        push @problems, decode('UTF-8', $unit->{name}) . ": sudo tcpdump, and no form in the lab"
            if $text =~ /^sudo tcpdump .*-i/m && $text !~ /^scripts\/lab\.sh/m;
    }
    return map { encode('UTF-8', $_) } @problems;
}

# TEXT with every output as it really is.
sub update {
    my ($text, $page, $results) = @_;
    my @lines = split /^/, $text;
    for my $command (grep { $_->{kind} eq 'sh' } map { @{ $_->{blocks} } } @{ $page->{units} }) {
        for my $t (0 .. $#{ $command->{outputs} }) {
            my $output = $command->{outputs}[$t];
            my $is = shown($results->{ $command->{key} }[$t]{out} // next, $output);
            next if $command->{live} && pattern($is) eq pattern($output->{body});
            my $count = () = $output->{body} =~ /\n/g;
            $lines[$output->{line} + $_] = '' for 0 .. $count - 1;
            $lines[$output->{line} - 1] .= $is;
        }
    }
    return join '', @lines;
}

1;
