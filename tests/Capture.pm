# What the tests of capture.sh share.
#
#   $capture               the script
#   place(SAMPLE...)       a new copy of scripts/ and these samples, at a path with a space; the
#                          test goes on in it
#   instead_of(PROGRAM, SCRIPT)    in that copy; the program itself is "$0.real" then
#   sample3_sleeps(SECONDS)        in that copy its client sleeps so long, not 3 s
#   impatient(COMMAND)     in that copy the wait for COMMAND has a limit of 1 s
#   by_hand(ARGUMENT...)   starts capture.sh in a process group of its own; returns the PROCESS when
#                          it is ready
#   has_recorded(N, ARGUMENT...)   the same, and it has seen a conversation of sampleN
#   sees(PROCESS, PACKETS)         waits until it has printed so many
#   ctrl_c(PROCESS)        presses it: SIGINT for the group (or the signal that is given)
#   result(PROCESS)        waits for its end: (status, last line on stderr)
#   complete(PROCESS)      waits for its end: '11 packets, 1 conversation', else result()
#   incomplete(PROCESS)    waits for its end: why its recording is not complete, and what is kept;
#                          else result()
#   recorded(FILE)         the conversations in FILE, as in %wire, separated by |
#   recorder()             the pid of the tcpdump that records
#   left_behind()          processes in this network that are not the test's, and temporary files
#   hiding(NAME, SCRIPT)   the PATH with a command NAME that does SCRIPT instead of the real one;
#                          also with several of them
package Capture;
use v5.36;
use Exporter 'import';
use File::Glob ':bsd_glob';    # a name may hold a space
use Lab;

our @EXPORT = (
    qw($capture place instead_of sample3_sleeps impatient by_hand has_recorded sees ctrl_c),
    qw(result complete incomplete recorded recorder left_behind hiding),
);

our $capture = 'scripts/capture.sh';
my $test = $$;
my $path = $ENV{PATH};
my $place;
my $tmp = '';    # for mktemp; not made before the test is in its lab, for exec cleans nothing up
delete $ENV{SUDO_UID};

sub place (@samples) {
    if (!$tmp) {
        $tmp = tempdir(CLEANUP => 1);
        $ENV{TMPDIR} = $tmp;
    }
    @samples = (1 .. 3) if !@samples;
    $place = tempdir(CLEANUP => 1, DIR => '/tmp') . "/a clone +('";
    mkdir $place or die "mkdir $place: $!";
    my @parts = ('scripts', map { "sample$_" } @samples);
    system('cp', '-a', (map { "$root/$_" } @parts), $place) == 0 or die 'cp';
    chdir $place or die "chdir $place: $!";
    return $place;
}

sub instead_of ($program, $script) {
    rename $program, "$program.real" or die "$program: $!";
    save($program, "#!/bin/sh\n$script\n");
}

sub sample3_sleeps ($seconds) {
    my $source = slurp('sample3/client.c') =~ s/\bsleep\(3\)/sleep($seconds)/r;
    my ($status, undef, $why) = run('cc', '-o', 'sample3/client', save('client.c', $source));
    die "client.c: $why" if $status ne '0';
}

sub impatient ($command) {
    my $script = slurp($capture);
    $script =~ s/await \K\d+(?= \Q$command\E)/0/ or die "no wait for $command";
    save($capture, $script);
}

sub by_hand (@arguments) {
    my $process = start('setsid', "$place/$capture", @arguments);
    shows($process, qr/ ready: /, 'err') or fail(slurp($process->{err}));
    return $process;
}

sub has_recorded ($n, @arguments) {
    my $process = by_hand(@arguments);
    converse($n);
    sees($process, scalar split ' ', $wire{$n});
    return $process;
}

sub sees ($process, $packets) {
    return shows($process, qr/\A(?:.* Flags .*\n){$packets}/);
}

sub ctrl_c ($process, $signal = 'INT') {
    kill $signal, -$process->{pid};
    return $process;
}

sub result ($process) {
    my $status = ended($process);
    $status >>= 8 if $status =~ /^\d+$/;
    my @lines = split /^/, slurp($process->{err});
    return "$status " . ($lines[-1] // '');
}

sub complete ($process) {
    return result($process) =~ s/^0 capture\.sh: (.*), 0 dropped, kept as .*\n/$1/r;
}

sub incomplete ($process) {
    return result($process) =~ s/^1 capture\.sh: not a complete recording: //r;
}

sub recorded ($file) {
    return join ' | ', conversations($file);
}

# The commands of the processes in this network, but for the test's own: pid => command.
sub running_here () {
    my $network = readlink '/proc/self/ns/net';
    my %commands;
    for my $pid (map { /(\d+)$/ } glob '/proc/[0-9]*') {
        next if $pid == $test || (readlink("/proc/$pid/ns/net") // '') ne $network;
        my $command = slurp("/proc/$pid/cmdline") =~ s/\0/ /gr;
        $commands{$pid} = $command if $command;    # a zombie has none
    }
    return %commands;
}

sub recorder () {
    my %commands = running_here();
    my ($pid) = grep { $commands{$_} =~ /^tcpdump .*-w - / } keys %commands;
    return $pid // die 'there is no recorder';
}

# What a PROCESS that has ended leaves: '' is as it should be. A closed terminal's may take a while.
# What is found is removed, for the next test.
sub left_behind () {
    my (%commands, @files);
    my $look = sub {
        %commands = running_here();
        @files = glob "$tmp/tmp.*";    # as mktemp calls them
        return !%commands && !@files;
    };
    eventually($look);
    kill 'KILL', keys %commands;
    system('rm', '-rf', @files);
    return join "\n", values %commands, @files;
}

sub hiding (%commands) {
    my $bin = tempdir(CLEANUP => 1);
    for my $name (keys %commands) {
        shim($bin, $name, $commands{$name});
    }
    return "$bin:$path";
}
1;
