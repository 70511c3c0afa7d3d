#!/usr/bin/perl
# Damaged recordings, texts and logs do no harm: the ladder ends by itself, with words of its own,
# and what steers a terminal never gets out. N=10000 tries so many inputs; SEED=n repeats a run;
# BUILD=asan runs it under ASan and UBSan.
use v5.36;
use FindBin;
use lib $FindBin::Bin;
use Lab;

need('tcpdump');
my $dir = tempdir(CLEANUP => 1);
my $count = $ENV{N} // 300;
my $seed = srand($ENV{SEED} // time);
alarm 6 * $Lab::patience + $count;
my $ladder = 'scripts/ladder';

if (($ENV{BUILD} // '') eq 'asan') {
    my $flags = '-O1 -g -fno-sanitize-recover=all -fsanitize=address,undefined';
    system("cp -r Makefile scripts $dir && touch $dir/scripts/*.c") == 0 or die 'cp';
    system('make', '-s', '-C', $dir, 'scripts/ladder', "CFLAGS=$flags") == 0
        or skip_or_fail('the compiler has no ASan and UBSan');
    $ENV{ASAN_OPTIONS} = 'detect_leaks=0';    # what it has read lasts until it ends
    $ladder = "$dir/scripts/ladder";
}

# What the ladder makes of TEXT and LOG within 10 s of CPU time: (status, stdout, stderr).
sub ladder ($options, $text, $log = '') {
    save("$dir/text", $text);
    save("$dir/log.log", $log);
    my $arguments = "$options x $dir/log.log <$dir/text >$dir/out 2>$dir/err";
    system('sh', '-c', "ulimit -t 10; exec $ladder $arguments");
    return ($? & 127 || $? >> 8, slurp("$dir/out"), slurp("$dir/err"));
}

# ---- damage -------------------------------------------------------------------------------------

my @words = ("\e[2J", "\0", "\r", "\n", "\t", ' > ', ': Flags [', 'IP ', 'seq ', 'ack ', 'length ',
    '4294967295', '99999999999999999999', '-1', ':', '(', ')', '[', '{', '12:00:00.000000', "\xff",
    'ICMP ', 'a' x 300, '0' x 300, '(tos 0x0, ttl 64, id 0, ', 'accept ', 'connect ');

# BYTES with one fault.
sub fault ($bytes) {
    my $at = int rand(1 + length $bytes);
    my $part = substr $bytes, $at, int rand 40;
    my @kinds = (
        sub { substr($bytes, $at, 0) = chr int rand 256 },
        sub { substr($bytes, $at, length $part) = '' },
        sub { substr($bytes, $at, 0) = $part x 3 },
        sub { substr($bytes, $at, 0) = $words[rand @words] },
        sub { $bytes = substr $bytes, 0, $at if rand() < 0.2 },
    );
    $kinds[rand @kinds]->();
    return $bytes;
}

# One of INPUTS with a few.
sub damaged (@inputs) {
    my $bytes = $inputs[rand @inputs];
    for (0 .. rand 4) {
        $bytes = fault($bytes);
    }
    return $bytes;
}

# Are STATUS, OUT and ERR as they should be?
sub is_sound ($status, $out, $err) {
    return $status =~ /^[013]$/ && $out !~ /[^\n -~]/ && $err =~ /\A(ladder\.sh: [ -~]*\n)*\z/;
}

# Tries a third of COUNT: MAKE returns options, a text, and perhaps a log.
sub try ($what, $make) {
    subtest "$count damaged inputs, a third of them $what: no fault, SEED=$seed" => sub {
        for my $n (1 .. $count / 3) {
            my ($options, $text, $log) = $make->();
            my @answer = ladder($options, $text, $log // '');
            next if is_sound(@answer);
            fail("$what $n: status $answer[0], $answer[2]");
            diag('it is in ', save("/tmp/damaged.$$.text", $text));
            diag('its log is in ', save("/tmp/damaged.$$.log", $log)) if $log;
        }
        pass('all ended as they should');
    };
}

my @files = glob 'tests/reference/*.pcap tests/ladder/*.pcap';
my @recordings = map { slurp($_) } @files;
try('recordings', sub {
    my $file = save("$dir/damaged", damaged(@recordings));
    my $hex = rand() < 0.5 ? '-x' : '';
    return ('-r', scalar `timeout 5 tcpdump -nn -tt -S -vv -K $hex -r $file 2>&1`);
});

my @texts = map { slurp($_) } glob 'tests/ladder/*.txt';
for my $options ('-vvve', '-nnttttX', '-A') {
    push @texts, map { scalar `tcpdump $options -r $_ 2>&1` } glob 'tests/reference/sample*.pcap';
}
try('texts', sub { return ('', damaged(@texts)) });

my $printed = `tcpdump -nntt -r tests/reference/sample1.pcap 2>&1`;
my @logs = map { slurp($_) } glob 'tests/reference/sample1.*.log';
try('logs', sub { return ('', $printed, damaged(@logs)) });

# ---- size ---------------------------------------------------------------------------------------

# What would take minutes if time were not linear in the size of the input; ASan's strstr() is not.
$ladder = 'scripts/ladder';
my $port = '192.0.2.1.7000 > 198.51.100.1.80';
my $client = 'client connect 198.51.100.1:80 from 192.0.2.1:7000';
my (@syns, @calls);
for my $n (1 .. 10000) {
    my $time = sprintf '12:%02d:%02d.%06d', $n / 60 % 60, $n % 60, $n;
    push @syns, sprintf "$time IP $port: Flags [S], seq %d, length 0\n", $n * 77_777_777 % 2**32;
    push @calls, "$time $client\n";
}
my %large = (
    'a word of 100 KB' => 'x' x 100_000,
    'a name of 100 KB' => '12:00:00.000000 IP ' . 'x' x 100_000 . ".80 > b.90: Flags [S], seq 1\n",
    'indented lines' => "IP (tos 0x0, ttl 64)\n" . "    1.2.3.4.5 > 1.2.3.4.6\n" x 40_000,
    'zeros without a newline' => "\0" x 1_000_000,
    'arrows' => ' > ' x 300_000,
    'gaps' => 'x' . (' ' x 9 . 'x') x 100_000,
    'brackets' => '12:00:00.000000 IP ' . '(' x 40_000,
    'conversations and calls of one port' => join('', @syns),
);
for my $what (sort keys %large) {
    subtest "$what: time is linear" => sub {
        my ($status, $out) = ladder('', $large{$what}, join '', @calls);
        like($status, qr/^[01]$/, 'it ends within 10 s of CPU time');
        is(() = $out =~ /  connect  /g, 10000, 'and finds all calls') if $what =~ /calls/;
    };
}
done_testing;
