#!/usr/bin/perl
# Damaged recordings, texts and logs do no harm: the ladder ends by itself, with words of its own,
# and what steers a terminal never gets out. It runs under ASan and UBSan where the compiler has
# them. N=10000 tries so many inputs; SEED=n repeats a run.
use v5.36;
use FindBin;
use lib $FindBin::Bin;
use Lab;

need('tcpdump');
my $dir = tempdir(CLEANUP => 1);
my $count = $ENV{N} // 210;
my $seed = srand($ENV{SEED} // time);
alarm 6 * $Lab::patience + $count;

# The ladder with sanitizers, or without.
sub sanitized () {
    my $ladder = 'tests/bin/ladder';
    my @sources = glob 'scripts/*.c';
    return $ladder if -e $ladder && !grep { -M $_ < -M $ladder } @sources, glob 'scripts/*.h';
    mkdir 'tests/bin';
    my @options = (qw(-std=c17 -O1 -g -fno-sanitize-recover=all), '-fsanitize=address,undefined');
    my $cc = $ENV{CC} // 'cc';
    # No limit but the alarm's: beside other tests it may take minutes.
    my $status = system("$cc @options -o $ladder @sources >$dir/cc 2>&1");
    return $status == 0 ? $ladder : 'scripts/ladder';
}
# What it has read lasts until it ends: that is no leak.
$ENV{ASAN_OPTIONS} = 'detect_leaks=0';
my $ladder = sanitized();
diag('without ASan and UBSan: the compiler has none') if $ladder !~ /tests/;

my @words = ("\e[2J", "\0", "\r", "\n", "\t", ' > ', ': Flags [', 'IP ', 'seq ', 'ack ', 'length ',
    '4294967295', '99999999999999999999', '-1', ':', '(', ')', '[', '{', '12:00:00.000000', "\xff",
    'ICMP ', 'a' x 300, '0' x 300, '(tos 0x0, ttl 64, id 0, ', 'accept ', 'connect ');

# BYTES with a few faults of several kinds.
sub damaged ($bytes) {
    for (0 .. rand 4) {
        my $at = int rand(1 + length $bytes);
        my $some = int rand 40;
        my $part = substr $bytes, $at, $some;
        my $kind = int rand 5;
        if ($kind == 0) {
            substr($bytes, $at, 1) = chr int rand 256 if $at < length $bytes;
        } elsif ($kind == 1) {
            substr($bytes, $at, length $part) = '';
        } elsif ($kind == 2) {
            substr($bytes, $at, 0) = $part x 3;
        } elsif ($kind == 3) {
            substr($bytes, $at, 0) = $words[rand @words];
        } elsif (rand() < 0.2) {
            $bytes = substr $bytes, 0, $at;
        }
    }
    return $bytes;
}

# Gives the ladder what is in TEXT, with LOG; it has to end as it should.
sub survives ($what, $n, $options, $text, $log = "$dir/none") {
    my $command = "exec $ladder $options x $log <$text";
    my ($status, $out, $err) = run('sh', '-c', $command);
    return 1 if $status =~ /^[013]$/ && $out !~ /[^\n -~]/ && $err =~ /\A(ladder\.sh: .*\n)*\z/
        && $err !~ /[^\n -~]/;
    fail("$what $n: status $status, $err");
    diag("it is in ", save("/tmp/damaged.$$.$n", slurp($text)));
    return 0;
}

# Tries a third of COUNT: the inputs that MAKE returns, which are options, a text and perhaps a log.
sub try ($what, $make) {
    subtest "$count damaged inputs, a third of them $what: no fault, SEED=$seed" => sub {
        my $survived = 0;
        for my $n (1 .. $count / 3) {
            $survived += survives($what, $n, $make->());
        }
        is($survived, int($count / 3), 'all ended as they should');
    };
}

my @recordings = map { slurp($_) } glob('tests/reference/*.pcap'), glob('tests/ladder/*.pcap');
try('recordings', sub {
    my $file = save("$dir/damaged", damaged($recordings[rand @recordings]));
    my $hex = rand() < 0.5 ? '-x' : '';
    system("timeout 5 tcpdump -nn -tt -S -vv -K $hex -r $file >$dir/text 2>&1");
    return ('-r', "$dir/text");
});

my @texts = map { slurp($_) } glob('tests/ladder/*.txt'), glob('tests/ladder/*.calls');
for my $options ('-nn', '-vvve', '-nnttttX', '-A') {
    push @texts, map { scalar `tcpdump $options -r $_ 2>&1` } glob 'tests/reference/sample*.pcap';
}
try('texts', sub { return ('', save("$dir/text", damaged($texts[rand @texts]))) });

my $printed = save("$dir/sample1.txt", scalar `tcpdump -nntt -r tests/reference/sample1.pcap 2>&1`);
my @logs = map { slurp("tests/reference/sample1.$_.log") } qw(client server);
try('logs', sub { return ('', $printed, save("$dir/log", damaged($logs[rand @logs]))) });

# ---- size ---------------------------------------------------------------------------------------

# What would take minutes if time were not linear in the size of the input.
my $lines = 40000;
my $port = '192.0.2.1.7000 > 198.51.100.1.80';
my $client = 'client connect 198.51.100.1:80 from 192.0.2.1:7000';
my @calls = map { sprintf "12:%02d:%02d.%06d $client\n", $_ / 60 % 60, $_ % 60, $_ } 1 .. 10000;
my @syns = map { sprintf "12:%02d:%02d.%06d IP $port: Flags [S], seq %d, length 0\n", $_ / 60 % 60,
    $_ % 60, $_ - 1, $_ * 77_777_777 % 2**32 } 1 .. 10000;
my %large = (
    'a word of 100 KB' => 'x' x 100_000,
    'a name of 100 KB' => "12:00:00.000000 IP " . 'x' x 100_000 . ".80 > b.90: Flags [S], seq 1\n",
    'indented lines' => "IP (tos 0x0, ttl 64)\n" . "    something (tos 0x0)\n" x $lines,
    'zeros without a newline' => "\0" x 1_000_000,
    'brackets' => '(' x $lines . "\n" . "12:00:00.000000 IP (" x $lines,
    'conversations and calls of one port' => join('', @syns),
);
for my $what (sort keys %large) {
    subtest "$what: time is linear" => sub {
        my $text = save("$dir/text", $large{$what});
        my $log = save("$dir/log", join '', @calls);
        my ($status, $out) = run('sh', '-c', "ulimit -t 10; exec scripts/ladder x $log <$text");
        like($status, qr/^[01]$/, 'it ends within 10 s of CPU time');
        is(() = $out =~ /  connect  /g, 10000, 'and finds all calls') if $what =~ /calls/;
    };
}
done_testing;
