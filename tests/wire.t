#!/usr/bin/perl
# What each sample puts on the wire, what it leaves in the kernel, and what its programs say of it.
use v5.36;
use FindBin;
use lib $FindBin::Bin;
use Lab;

need(qw(tcpdump taskset ss));
enter_lab();
# Local time in here, tcpdump's too, is far from UTC and from midnight.
my $utc = (gmtime)[2];
my $hour = $utc < 12 ? 16 : 8;
$ENV{TZ} = 'Lab' . ($utc - $hour);

# How many lines of ROLE's source differ in samples FROM and TO, their numbers apart.
sub differing_lines ($role, $from, $to) {
    my $renumber = "s/sample$from/sample$to/g; s/808$from/808$to/g";
    my @diff = `sed '$renumber' sample$from/$role.c | diff - sample$to/$role.c`;
    return scalar grep { /^[<>]/ } @diff;
}

subtest 'siblings differ in their first lines and in the lesson alone' => sub {
    is(differing_lines('server', 1, 2), 31, 'sample2: the server resets');
    is(differing_lines('client', 1, 2), 15, 'sample2: the client waits for that');
    is(differing_lines('server', 2, 3), 2, 'sample3: nothing in the server');
    is(differing_lines('client', 2, 3), 3, 'sample3: the client sleeps');
};

subtest 'the servers listen on 127.0.0.1 alone, on 8081, 8082 and 8083' => sub {
    my @servers = map { serve("sample$_/server") } 1 .. 3;
    my @local = map { (split)[3] } `ss -Htln`;
    is(join(' ', sort @local), '127.0.0.1:8081 127.0.0.1:8082 127.0.0.1:8083', 'by ss');
    for my $server (@servers) {
        stop($server);
    }
};

# The lines that sampleN's program ROLE has to print when the client's port is PORT.
sub expected_lines ($n, $role, $port) {
    my $lines = steps(slurp("tests/reference/sample$n.$role.log"));
    return $lines =~ s/127\.0\.0\.1:(?!808)\d+/127.0.0.1:$port/r;
}

# The claim is that the first lines of STORY to match these patterns stand in this order.
sub in_order ($story, @patterns) {
    my $all = join '.*', @patterns;
    like($story, qr/$all/s, "@patterns");
}

# The second of the day at which the first line of STORY to match PATTERN begins.
sub second ($story, $pattern) {
    my ($hours, $minutes, $seconds) = $story =~ /^(\d\d):(\d\d):(\S+) .*$pattern/m;
    return $hours * 3600 + $minutes * 60 + $seconds;
}

my %leaves = (
    1 => 'TIME-WAIT at the client',
    2 => 'nothing at either end',
    3 => 'nothing at either end',
);
for my $n (1 .. 3) {
    my $recorder = begin_recording("tcp port 808$n");
    sleep 1 - (time - int time);    # a new second begins: microseconds have zeros in front
    my ($client, $server) = converse($n);
    my @left = map { join ' ', (split)[0, 3, 4] } grep { /:808$n\b/ } `ss -Htan`;
    end_recording($recorder);
    my ($packets) = packets($recorder->{out});
    my ($port) = $packets->[0]{client} =~ /(\d+)$/;

    subtest "sample$n: the conversation has these packets and no others: $wire{$n}" => sub {
        is_deeply([conversations($recorder->{out})], [$wire{$n}], 'the packets');
        like(slurp($recorder->{out}), qr/ABCD.*CDEF/s, 'with ABCD, then CDEF');
    };

    subtest "sample$n: it leaves $leaves{$n}" => sub {
        my $left = $n == 1 ? "TIME-WAIT 127.0.0.1:$port 127.0.0.1:8081" : '';
        is("@left", $left, 'by ss');
    };

    my $lines = $client . $server . join '', map { $_->{line} } @$packets;
    my $story = join '', sort split /^/, $lines;
    my ($to, $from) = ("808$n: Flags ", "808$n > \\S+ Flags ");
    subtest "sample$n: a line has local time, before its packet is sent or after it came" => sub {
        is(steps($client), expected_lines($n, 'client', $port), 'the client');
        is(steps($server), expected_lines($n, 'server', $port), 'the server');
        in_order($story, $to . '\[S\]', 'server accept');
        in_order($story, $from . '\[S\.\]', 'client connect');
        in_order($story, 'client send', $to . '\[P', 'server recv 4');
        in_order($story, 'server send', $from . '\[P', 'client recv 4');
        if ($n == 1) {
            in_order($story, 'client close', $to . '\[F', 'server recv 0');
            in_order($story, 'server setsockopt', $from . '\[\.\], ack 6', 'server close');
            in_order($story, 'server close', $from . '\[F');
        } else {
            in_order($story, 'server close', $from . '\[R', 'client recv ECONNRESET');
        }
    };

    if ($n == 3) {
        subtest 'sample3: RST comes at 0 s; CDEF is read at 3 s, and then ECONNRESET' => sub {
            my $begin = second($story, 'client send');
            my $rst = second($story, 'Flags \[R') - $begin;
            my $read = second($story, 'client recv 4') - $begin;
            cmp_ok($read - $rst, '>', 2, 'seconds from RST until CDEF is read');
            ok($read > 2.9 && $read < 4, "3 s until CDEF is read: $read");
            in_order($story, 'client recv 4', 'client recv ECONNRESET');
        };
    }
}

subtest 'sample2: RST waits for an ACK of CDEF that comes late' => sub {
    my $recorder = begin_recording('tcp port 8082');
    my $server = serve(pinned('sample2/server'));
    my $client = IO::Socket::INET->new('127.0.0.1:8082') or die "connect: $@";
    # in pingpong mode Linux keeps its ACK back for some 40 ms
    setsockopt($client, IPPROTO_TCP, TCP_QUICKACK, 0) or die "setsockopt: $!";
    syswrite $client, 'ABCD';
    shows($server, qr/ close\n/);
    stop($server);
    end_recording($recorder);
    is_deeply([conversations($recorder->{out})], [$wire{2}], 'the ACK comes first');
};
done_testing;
