# What the tests of capture.sh share.
#
#   place(SAMPLE...)       a new copy of scripts/ and these samples; the test goes on in it
#   sample3_sleeps(SECONDS)    in that copy its client sleeps so long, not 3 s
#   by_hand(ARGUMENT...)   starts capture.sh in a process group of its own; returns the PROCESS when
#                          it is ready
#   ctrl_c(PROCESS)        presses it: SIGINT for the group (or the signal that is given)
#   result(PROCESS)        waits for its end: (status, last line on stderr)
#   kept(...)              the status 0 and the line that says what was recorded
#   recorded(FILE...)      the conversations in FILEs, as in %wire, separated by |
#   left_behind()          processes in this network that are not the test's, and temporary files
#   hiding(NAME, SCRIPT)   the PATH with a command NAME that does SCRIPT instead of the real one;
#                          also with several of them
package Capture;
use v5.36;
use Exporter 'import';
use File::Glob ':bsd_glob';    # a name may hold a space
use Lab;

our @EXPORT =
    qw(place sample3_sleeps by_hand ctrl_c result kept recorded left_behind hiding);

my $test = $$;
my $path = $ENV{PATH};
my $tmp = '';    # for mktemp; not made before the test is in its lab, for exec cleans nothing up

sub place (@samples) {
    if (!$tmp) {
        $tmp = tempdir(CLEANUP => 1);
        $ENV{TMPDIR} = $tmp;
    }
    @samples = map { "sample$_" } @samples ? @samples : (1 .. 3);
    my $place = tempdir(CLEANUP => 1, DIR => '/tmp') . "/a clone +('";
    mkdir $place or die "mkdir $place: $!";
    system('cp', '-a', (map { "$root/$_" } 'scripts', @samples), $place) == 0 or die 'cp';
    chdir $place or die "chdir $place: $!";
    return $place;
}

sub sample3_sleeps ($seconds) {
    my $source = slurp('sample3/client.c') =~ s/\bsleep\(3\)/sleep($seconds)/r;
    my ($status, undef, $why) = run('cc', '-o', 'sample3/client', save('client.c', $source));
    die "client.c: $why" if $status ne '0';
}

sub by_hand (@arguments) {
    my $process = start('setsid', 'scripts/capture.sh', @arguments);
    shows($process, qr/ ready: /, 'err') or fail(slurp($process->{err}));
    return $process;
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

# The line, with the exit status, for PACKETS in CONVERSATIONS in FILE.
sub kept ($packets, $conversations, $file) {
    $conversations .= $conversations == 1 ? ' conversation' : ' conversations';
    my $summary = "$packets packets, $conversations, 0 dropped, kept as $file";
    return "0 capture.sh: $summary; next: scripts/ladder.sh $file\n";
}

sub recorded (@files) {
    return join ' | ', map { conversations($_) } @files;
}

# The commands of the processes in this network, but for the test's own.
sub running_here () {
    my $network = readlink '/proc/self/ns/net';
    my @commands;
    for my $process (glob '/proc/[0-9]*') {
        next if $process eq "/proc/$test" || (readlink("$process/ns/net") // '') ne $network;
        my $command = slurp("$process/cmdline") =~ s/\0/ /gr;
        push @commands, $command if $command;    # a zombie has none
    }
    return @commands;
}

# What a PROCESS that has ended leaves: '' is as it should be. A closed terminal's may take a while.
sub left_behind ($seconds = 10) {
    my @left;
    my $look = sub {
        @left = (running_here(), glob "$tmp/tmp.*");    # as mktemp calls them
        return !@left;
    };
    eventually($look, $seconds);
    return join "\n", @left;
}

sub hiding (%commands) {
    my $bin = tempdir(CLEANUP => 1);
    for my $name (keys %commands) {
        shim($bin, $name, $commands{$name});
    }
    return "$bin:$path";
}
1;
