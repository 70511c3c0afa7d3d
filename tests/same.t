#!/usr/bin/perl
# scripts/ladder.sh gives the same answer wherever it is asked: a conversation alone and beside
# others, a file and a pipe, with a filter and without, a recording and what tcpdump prints of it,
# whatever numbers a connection begins with. SEED=n repeats a run.
use v5.36;
use FindBin;
use lib $FindBin::Bin;
use Lab;

need('tcpdump');
$ENV{TZ} = 'UTC';
my $dir = tempdir(CLEANUP => 1);
my $seed = srand($ENV{SEED} // time);
my @samples = map { "tests/reference/$_.pcap" } qw(sample1 sample2 lost-rst);
my $patterns = 'tests/reference/patterns.pcap';
my @texts = grep { slurp($_) !~ /^(?:Recording|Said): /m } glob 'tests/ladder/*.txt';

# What is cut gives other verdicts; only -v prints the IP id, which tells copies.
my @whole = grep { !/cut|payloads|copies|node-sees-both/ } glob 'tests/ladder/*.pcap*';
my @recordings = (@whole, @samples, $patterns);

# What tcpdump prints of RECORDING with OPTIONS, and of itself.
sub printed ($recording, $options) {
    return scalar `tcpdump $options -r $recording 2>&1`;
}

# What it prints for the ladder.
sub decoded ($recording, $filter = '') {
    return printed($recording, "-nn -tt -S -vv -K $filter");
}

# What the ladder makes of TEXT; OPTIONS: -r if that was printed for it, -v: verdicts.
sub answer ($text, $options = '') {
    save("$dir/text", $text);
    return scalar `scripts/ladder $options x <$dir/text 2>&1`;
}

# ---- how it gets them ---------------------------------------------------------------------------

subtest 'a pipe, a redirection and a filter give the answer of the file' => sub {
    for my $file (@samples, $texts[0]) {
        my $copy = save("$dir/copy", slurp($file));    # beside which no logs lie
        my $answer = said('scripts/ladder.sh', $copy);
        is(said('sh', '-c', "cat $copy | scripts/ladder.sh -"), $answer, "$file as a pipe");
        is(said('sh', '-c', "scripts/ladder.sh <$copy"), $answer, "$file, redirected");
        is(said('scripts/ladder.sh', $copy, '--', 'greater 0'), $answer, "$file with a filter")
            if $file =~ /pcap$/;
    }
};

subtest 'a large recording gives the answer of a small one, but for the data' => sub {
    my $no_tcp = pack('V4', 0, 0, 60000, 60000) . "\0" x 60000;
    my $large = save("$dir/large", slurp('tests/ladder/data.pcap') . $no_tcp x 20);
    my $small = said('scripts/ladder.sh', 'tests/ladder/data.pcap');
    my $answer = said('scripts/ladder.sh', $large);
    like($answer, qr/ PSH, ACK 4 bytes /, 'which is said in bytes');
    is($answer =~ s/\|.*?\|//gr, $small =~ s/\|.*?\|//gr, 'states and verdict');
};

# ---- options of tcpdump -------------------------------------------------------------------------

# The verdicts of TEXT, without times and ends, and what only -v prints.
sub verdict ($text, $options = '') {
    return answer($text, "-v $options") =~ s/^\S+ \S+ > \S+: //gmr =~ s/ ICMP: .*//gr;
}

my %verdict = map { $_ => verdict(decoded($_), '-r') } @recordings;

sub compare ($options, @files) {
    subtest "what tcpdump $options prints has the verdict of the recording" => sub {
        for my $file (@files) {
            is(verdict("Look at this:\n\n" . printed($file, $options)), $verdict{$file}, $file);
        }
    };
}
compare($_, @recordings) for '-nn', '-nn -vv -e -S', '-nn -X -ttt', '-nn -A -tttt -v -#';
compare($_, @samples) for '', '-n -t', '-v -XX -e -ttttt', '-nn -vvv -x';

# The times at which the rows of a DRAWING stand.
sub seconds ($drawing) {
    return join ' ', $drawing =~ /^(\d\S+) /mg;
}

subtest 'the rows stand at the same seconds, whatever times tcpdump prints' => sub {
    for my $file (@samples) {
        my $seconds = seconds(answer(decoded($file), '-r'));
        for my $options ('-nn', '-nn -tt', '-nn -ttt', '-nn -tttt', '-nn -ttttt') {
            is(seconds(answer(printed($file, $options))), $seconds, "$file, tcpdump $options");
        }
        is(seconds(answer(printed($file, '-nn -t'))), '', "$file: none without times");
    }
};

# ---- numbers ------------------------------------------------------------------------------------

my %shift;    # what is added to the numbers of an end, a pair of ports: NAT leaves them as they are

# A LINE of decoded() with its numbers shifted.
sub shifted ($line) {
    my ($from, $to) = $line =~ /(\d+) > \S*?(\d+): Flags \[/ or return $line;
    my $mine = $shift{"$from $to"} //= int rand 2**32;
    my $yours = $shift{"$to $from"} //= int rand 2**32;
    my $is_refusal = $line =~ /\[R\.\], seq 0,/;    # of a SYN: it has no number of its own
    $line =~ s/ seq \K(\d+)/($1 + $mine) % 2**32/e if !$is_refusal;
    $line =~ s/ seq \d+:\K(\d+)/($1 + $mine) % 2**32/e;
    $line =~ s/ ack \K(\d+)/($1 + $yours) % 2**32/e;
    return $line;
}

subtest "any first numbers give the same answer, SEED=$seed" => sub {
    for my $file (@recordings) {
        my @lines = split /^/, decoded($file);
        my $answer = answer(join('', @lines), '-r');
        %shift = ();
        is(answer(join('', map { shifted($_) } @lines), '-r'), $answer, $file);
    }
};

# ---- neighbours ---------------------------------------------------------------------------------

# The drawings of each conversation, by its ends. Its number is left out.
sub drawings ($answer) {
    my %drawing;
    for my $drawn (split /\n\n/, $answer) {
        my ($ends) = $drawn =~ /^\S+ +\S* *(client.*\S)/m or next;
        $drawing{$ends} .= $drawn =~ s/\btcp \d+ *//gr =~ s/\n\z//r;
    }
    return \%drawing;
}

# Are the conversations of ALONE drawn as they are in BESIDE?
sub is_drawn_as ($beside, $alone, $what) {
    my ($all, $wanted) = (drawings($beside), drawings($alone));
    is_deeply({ map { $_ => $all->{$_} } keys %$wanted }, $wanted, $what);
}

# TEXT with a packet of another connection before each.
sub with_neighbour ($text) {
    my $seq = 2_000_000_000;
    my $ends = '203.0.113.77.7000 > 198.51.100.77.77';
    return $text =~ s{^(\d\d:\d\d:\d\d\.\d+ )IP.*: Flags.*\n}{
        my $next = ++$seq + 1;
        "$1IP $ends: Flags [P.], seq $seq:$next, ack 3000000000, length 1\n$&"
    }gmer;
}

subtest 'a conversation beside others gives the answer that it gives alone' => sub {
    for my $file (@texts) {
        my $text = slurp($file);
        is_drawn_as(answer(with_neighbour($text)), answer($text), $file);
    }
    my $all = answer(decoded($patterns), '-r');
    for my $port (8101 .. 8112) {
        is_drawn_as($all, answer(decoded($patterns, "port $port"), '-r'), "port $port of patterns");
    }
};
done_testing;
