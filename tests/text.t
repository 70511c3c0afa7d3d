#!/usr/bin/perl
# scripts/ladder.sh and what tcpdump printed, with whatever options, as people have it in a mail, a
# report or a log: it gives the verdict of the recording.
use v5.36;
use FindBin;
use lib $FindBin::Bin;
use Lab;

need('tcpdump');
delete @ENV{qw(LC_ALL LC_CTYPE AWK)};
$ENV{LANG} = 'C.UTF-8';
$ENV{TZ} = 'UTC';
my $dir = tempdir(CLEANUP => 1);
my @recordings = map { "tests/reference/$_.pcap" } qw(sample1 sample2 lost-rst);
my $sample2 = 'tests/reference/sample2.pcap';

# What tcpdump prints of RECORDING with OPTIONS, and of itself.
sub printed ($recording, $options) {
    return scalar `tcpdump $options -r $recording 2>&1`;
}

# The verdicts of FILE, without times and ends; and what is said on stderr.
sub verdicts ($file) {
    my (undef, $out, $err) = run('scripts/ladder.sh', '--verdict', $file);
    return $out =~ s/^\S+ \S+ > \S+: //gmr . $err;
}

# The verdicts of TEXT in a file.
sub verdicts_of_text ($text) {
    return verdicts(save("$dir/text", $text));
}

for my $options ('-nn', '-n', '', '-nnS', '-nnv', '-nnvv -e', '-nne', '-nnX', '-nnA', '-vXe',
    '-nnt', '-nntt', '-nnttt', '-nntttt', '-nnttttt') {
    subtest "what tcpdump $options prints has the verdict of the recording" => sub {
        for my $recording (@recordings) {
            my $text = "Look at this:\n\n" . printed($recording, $options);
            is(verdicts_of_text($text), verdicts($recording), $recording);
        }
    };
}

subtest 'what tcpdump prints of a tunnel has the verdict of the recording' => sub {
    for my $tunnel (qw(l2tp vxlan)) {
        my $recording = "tests/ladder/$tunnel.pcap";
        for my $options ('-nn', '-nnv', '-nnvv', '-nnvv -e') {
            is(verdicts_of_text(printed($recording, $options)), verdicts($recording),
                "$tunnel, tcpdump $options");
        }
    }
};

subtest 'what tcpdump prints of IPv6 has the verdict of the recording' => sub {
    for my $name (qw(ipv6 ipv6-extension)) {
        my $recording = "tests/ladder/$name.pcap";
        for my $options ('-nn', '-nnv', '-nnvv -e') {
            is(verdicts_of_text(printed($recording, $options)), verdicts($recording),
                "$name, tcpdump $options");
        }
    }
};

# The times at which the rows of the drawing of FILE stand.
sub seconds ($file) {
    my (undef, $drawn) = run('scripts/ladder.sh', $file);
    return join ' ', $drawn =~ /^(\d\S+) /mg;
}

subtest 'the rows stand at the same seconds, whatever times tcpdump prints' => sub {
    for my $recording (@recordings) {
        for my $options ('-nn', '-nntt', '-nnttt', '-nntttt', '-nnttttt') {
            my $text = save("$dir/text", printed($recording, $options));
            is(seconds($text), seconds(save("$dir/copy", slurp($recording))),
                "$recording, tcpdump $options");
        }
    }
};

subtest 'text without its first lines has a verdict without its beginning' => sub {
    my $text = printed($sample2, '-nn') =~ s/\A(?:.*\n){4}//r;
    is(verdicts_of_text($text),
        "server reset it, beginning missing: RST. TIME-WAIT: nobody. (client guessed)\n",
        'the handshake is cut off');
};

subtest 'text that is quoted in a mail is text' => sub {
    my $text = printed($sample2, '-nnv') =~ s/^/> /gmr;
    is(verdicts_of_text($text), verdicts($sample2), 'with > before each line');
};

subtest 'lines that end as on Windows are text' => sub {
    my $text = printed($sample2, '-nnv') =~ s/\n/\r\n/gr;
    is(verdicts_of_text($text), verdicts($sample2), 'with CR LF');
};

subtest 'a log of tcpdump is text, and no log of the programs' => sub {
    my $log = save("$dir/sample2.log", printed($sample2, '-nnv'));
    is(verdicts($log), verdicts($sample2), 'though its name ends in .log');
};

subtest 'without times the drawing has none' => sub {
    my (undef, $drawn) = run('scripts/ladder.sh', save("$dir/text", printed($sample2, '-nnt')));
    like($drawn, qr/ RST, ACK /, 'it is drawn');
    unlike($drawn, qr/seconds|^\d/m, 'without a column of times');
};

subtest 'what tcpdump -q prints lacks the flags: that is said' => sub {
    like(verdicts_of_text(printed($sample2, '-nnq')), qr/leaves out the flags \(.* without -q\)$/,
        'with a way out');
};

subtest '- is standard input: a recording or text' => sub {
    my $print = "tcpdump -nnv -r $sample2 2>&1";
    for my $command ("cat $sample2", $print) {
        is(said('sh', '-c', "$command | scripts/ladder.sh --no-time - | tail -n 1"),
            "0   server reset it after 8 packets: RST, no FIN. TIME-WAIT: nobody.\n", $command);
    }
};
done_testing;
