#!/usr/bin/perl
# scripts/ladder.sh gives the same answer wherever it is asked: a conversation alone and beside
# others, a file and a pipe, with a filter and without, a small recording and a large one, whatever
# numbers a connection begins with. SEED=n repeats a run.
use v5.36;
use FindBin;
use lib $FindBin::Bin;
use Lab;

need('tcpdump');
$ENV{TZ} = 'UTC';
my $dir = tempdir(CLEANUP => 1);
my @recordings = (glob('tests/ladder/*.pcap'), glob('tests/reference/*.pcap'));
my @texts = grep { slurp($_) !~ /^Recording: /m } glob 'tests/ladder/*.txt';
my $seed = srand($ENV{SEED} // time);

# What tcpdump prints for the ladder of RECORDING.
sub printed ($recording, @options) {
    return scalar `tcpdump -nn -tt -S -v -K @options -r $recording 2>&1`;
}

# What the ladder makes of the TEXT that tcpdump printed; OPTIONS: -r if it did so for the ladder.
sub answer ($text, @options) {
    save("$dir/text", $text);
    return said('sh', '-c', "exec scripts/ladder @options x <$dir/text");
}

subtest 'a pipe, a redirection and a filter give the answer of the file' => sub {
    for my $file (glob('tests/reference/*.pcap'), @texts[0 .. 2]) {
        my $copy = save("$dir/copy", slurp($file));    # beside which no logs lie
        my $answer = said('scripts/ladder.sh', $copy);
        is(said('sh', '-c', "cat $copy | scripts/ladder.sh -"), $answer, "$file as a pipe");
        is(said('sh', '-c', "scripts/ladder.sh <$copy"), $answer, "$file, redirected");
        is(said('scripts/ladder.sh', $copy, '--', 'greater 0'), $answer, "$file with a filter")
            if $file =~ /pcap$/;
    }
};

subtest 'a large recording gives the answer of a small one, but for the data' => sub {
    for my $file (@recordings) {
        my ($small, $large) = map { answer(printed($file, $_), '-r') } '-x', '';
        is($large =~ s/\|.*?\|/|/gr, $small =~ s/\|.*?\|/|/gr, $file);
    }
    my $large = tempdir(CLEANUP => 1);
    shim($large, 'wc', 'echo 10000000');
    local $ENV{PATH} = "$large:$ENV{PATH}";
    like(said('scripts/ladder.sh', 'tests/ladder/data.pcap'), qr/ PSH, ACK 4 bytes /,
        'which is said in bytes');
};

# TEXT, as printed() returns it, with all numbers of an end shifted by the same random amount. An
# end is a pair of ports here: before and behind NAT it is one.
sub shifted ($text) {
    my ($shifted, %shift) = ('');
    for my $line (split /^/, $text) {
        if (my ($from, $to) = $line =~ /\S*?[.]?(\d+) > \S*?[.]?(\d+): Flags \[/) {
            my $own = $shift{"$from $to"} //= int rand 2**32;
            my $other = $shift{"$to $from"} //= int rand 2**32;
            my $moved = sub ($number, $by) { ($number + $by) % 2**32 };
            my $refuses = $line =~ /\[R\.\], seq 0,/;    # a SYN: it has no number of its own
            $line =~ s/ seq \K(\d+)/$moved->($1, $own)/e if !$refuses;
            $line =~ s/ seq \d+:\K(\d+)/$moved->($1, $own)/e;
            $line =~ s/ ack \K(\d+)/$moved->($1, $other)/e;
            $line =~ s/([{:])(\d+)(?=[:}])/$1 . $moved->($2, $other)/ge if $line =~ / sack /;
        }
        $shifted .= $line;
    }
    return $shifted;
}

subtest "any first numbers give the same answer, SEED=$seed" => sub {
    for my $file (@recordings) {
        my $text = printed($file);
        my $answer = answer($text, '-r');
        for my $round (1, 2) {
            is(answer(shifted($text), '-r'), $answer, "$file, round $round");
        }
    }
};

# The drawings of each conversation, by its ends. Its number is left out.
sub drawings ($answer) {
    my %drawing;
    for my $drawn (split /\n\n/, $answer) {
        my ($ends) = $drawn =~ /^\S+ +\S* *(client.*\S)/m or next;
        $drawing{$ends} .= $drawn =~ s/\btcp \d+//gr =~ s/\A\d |\n\z//gr;
    }
    return \%drawing;
}

# Another conversation, a line for each of the TIMES.
sub neighbour (@times) {
    my ($n, @lines) = (0);
    my ($to, $from) = ('198.51.100.77.77', '203.0.113.77.7000');
    for my $time (@times) {
        my $port = 7000 + int($n / 3);
        my ($from, $isn) = ("203.0.113.77.$port", 1000 * $port);
        my ($next, $answered) = ($isn + 1, 3 * $isn);
        my @three = (
            "$from > $to: Flags [S], seq $isn, length 0",
            "$to > $from: Flags [S.], seq $answered, ack $next, length 0",
            "$from > $to: Flags [R], seq $next, length 0",
        );
        push @lines, "$time IP $three[$n++ % 3]";
    }
    return @lines;
}

subtest 'a conversation beside others gives the answer that it gives alone' => sub {
    for my $file (@texts) {
        my @lines = split /\n/, slurp($file);
        next if !grep { /^\d\d:\d\d:\d\d\.\d+ IP.*: Flags/ } @lines;
        my $with = '';
        my @neighbours = neighbour(map { /^(\d\d:\d\d:\d\d\.\d+) IP/ } @lines);
        for my $line (@lines) {
            $with .= "$line\n";
            $with .= shift(@neighbours) . "\n" if $line =~ /^\d\d:\d\d:\d\d\.\d+ IP/;
        }
        my $alone = drawings(answer(slurp($file)));
        my $beside = drawings(answer($with));
        is_deeply({ map { $_ => $beside->{$_} } keys %$alone }, $alone, $file);
    }
    my $patterns = 'tests/reference/patterns.pcap';
    my $all = drawings(answer(printed($patterns), '-r'));
    for my $port (8101 .. 8112) {
        my $alone = drawings(answer(printed($patterns, "port $port"), '-r'));
        is_deeply({ map { $_ => $all->{$_} } keys %$alone }, $alone, "port $port of $patterns");
    }
};
done_testing;
