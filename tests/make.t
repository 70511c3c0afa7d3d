#!/usr/bin/perl
# make builds the programs of each sample: with any C compiler, any C since C99, and nothing twice.
use v5.36;
use FindBin;
use lib $FindBin::Bin;
use Lab;

need(qw(make gcc clang musl-gcc));
# what make test was given is not for the makes here
delete @ENV{qw(MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES CC CPPFLAGS CFLAGS LDFLAGS)};
my $tree = tempdir(CLEANUP => 1);
system('cp', '-R', 'Makefile', glob('sample[1-9]'), $tree) == 0 or die 'cp';
my @programs = map { ("sample$_/client", "sample$_/server") } 1 .. 3;

# Not optimised, if ARGUMENTS do not say how: it is done in half the time.
sub make (@arguments) {
    return run('make', '-j4', '--no-print-directory', '-C', $tree, 'CFLAGS=-O0', @arguments);
}

# The exit status of make.
sub status (@arguments) {
    my ($status) = make(@arguments);
    return $status;
}

# The programs that are there.
sub built () {
    return join ' ', sort map { s{^\Q$tree\E/}{}r } glob "$tree/sample[1-9]/{client,server}";
}

subtest 'make clean removes the programs and leaves recordings, logs and sources alone' => sub {
    make();
    my @kept = qw(captures/sample1.pcap captures/notes server.log sample1/server.c Makefile);
    mkdir "$tree/captures" or die "mkdir: $!";
    for my $file (@kept[0 .. 2]) {
        save("$tree/$file", 'x');
    }
    is(built(), "@programs", 'the programs were there');
    is(status('clean'), 0, 'make clean succeeds');
    is(built(), '', 'the programs are gone');
    is(join(' ', grep { -s "$tree/$_" } @kept), "@kept", 'all else is there');
};

subtest 'make sample1 builds the programs of sample1 alone' => sub {
    make('clean');
    is(status('sample1'), 0, 'it succeeds');
    is(built(), 'sample1/client sample1/server', 'they are there');
};

# musl-gcc stands for a libc that is not GNU's; tcc is not on the list of packages.
for my $cc (qw(gcc clang musl-gcc), which('tcc') // ()) {
    for my $cflags ('-O2 -g', '-std=c99 -pedantic', '-std=c2x') {
        subtest "$cc $cflags builds programs that run, without a warning" => sub {
            my ($status, undef, $warnings) = make('-B', "CC=$cc", "CFLAGS=$cflags");
            is("$status $warnings", '0 ', 'no warning');
            for my $program (@programs) {
                is(said("$tree/$program", ''), "2 : unexpected argument (usage: ./$program)\n",
                    "$program says that it takes no argument");
            }
        };
    }
}

# Makes FILES that were changed AGO seconds ago.
sub changed ($ago, @files) {
    my $then = time - $ago;
    utime($then, $then, @files) == @files or die "utime: $!";
}

# What make has to build.
sub would_build () {
    my (undef, $commands) = make('-n');
    return join ' ', $commands =~ / -o (\S+)/g;
}

subtest 'make builds nothing twice' => sub {
    make();
    is(status('-q'), 0, 'after make there is nothing to do');
    changed(60, glob("$tree/sample?/*.c"), "$tree/Makefile");
    changed(30, map { "$tree/$_" } @programs);
    changed(0, "$tree/sample2/server.c");
    is(would_build(), 'sample2/server', 'a changed source is one program');
    changed(0, "$tree/Makefile");
    my @all = split / /, would_build();
    is(@all, 6, 'a changed Makefile may have changed the flags of all');
};

subtest 'make honours CC, CPPFLAGS, CFLAGS and LDFLAGS' => sub {
    my (undef, $commands) = make(qw(-n -B CC=the-cc CPPFLAGS=-DA CFLAGS=-O1 LDFLAGS=-g sample1));
    my @lines = $commands =~ /^the-cc .* -DA -O1 -g -o (\S+) /mg;
    is("@lines", 'sample1/server sample1/client', 'in the order in which a compiler wants them');
};

subtest 'what runs the programs has them built first' => sub {
    for my $target (qw(demo test lint stress bench)) {
        my (undef, $commands) = make('-n', '-B', $target);
        like($commands, qr/\A(?:cc .*\n){6}(?!cc )./, $target);
    }
};

subtest 'make test fails if a test does' => sub {
    mkdir "$tree/tests" or die "mkdir: $!";
    for my $result ('ok', 'not ok') {
        save("$tree/tests/x.t", "#!/bin/sh\necho 1..1\necho $result 1\n");
        is(status('test'), $result eq 'ok' ? 0 : 2, $result);
    }
};

subtest 'N, ROUNDS and MOMENTS say how much make stress does' => sub {
    save("$tree/tests/stress", "#!/bin/sh\necho N=\$N\n");
    my $bin = tempdir(CLEANUP => 1);
    shim($bin, 'prove', 'echo "$1: ROUNDS=$ROUNDS MOMENTS=$MOMENTS"');
    local $ENV{PATH} = "$bin:$ENV{PATH}";
    my (undef, $out) = make('-s', 'stress', 'N=7', 'ROUNDS=8', 'MOMENTS=9');
    like($out, qr/^N=7$/m, 'N');
    like($out, qr/^tests\/hostile\.t: ROUNDS=8 /m, 'ROUNDS');
    like($out, qr/^tests\/interrupt\.t: .* MOMENTS=9$/m, 'MOMENTS');
};

subtest 'a new sample is built like the others, and one that is not there is an error' => sub {
    system('cp', '-R', "$tree/sample1", "$tree/sample4") == 0 or die 'cp';
    make('clean');
    is(status(), 0, 'make succeeds');
    is(built(), "@programs sample4/client sample4/server", 'make builds sample4 too');
    unlink glob "$tree/sample4/*r";
    is(status('sample4'), 0, 'make sample4 succeeds');
    like(built(), qr{ sample4/client sample4/server$}, 'make sample4 builds it');
    make('clean');
    is(built(), '', 'make clean removes its programs as well');
    my ($status, undef, $why) = make('sample9');
    is($status, 2, 'make sample9 fails');
    like($why, qr/sample9/, 'and says what is missing');
    system('rm', '-r', "$tree/sample4") == 0 or die 'rm';
};

sub speaks_of_it () {
    return slurp("$tree/sample1/server") =~ /TCP_QUICKACK/;
}

subtest 'without TCP_QUICKACK (it is Linux) the programs compile, and do not speak of it' => sub {
    system('mkdir', '-p', "$tree/include/netinet") == 0 or die 'mkdir';
    save("$tree/include/netinet/tcp.h", "#include_next <netinet/tcp.h>\n#undef TCP_QUICKACK\n");
    my ($status, undef, $warnings) = make('-B', "CPPFLAGS=-isystem $tree/include");
    is("$status $warnings", '0 ', 'no warning');
    ok(!speaks_of_it(), 'sample1 does without it');
    make('-B', 'sample1');
    ok(speaks_of_it(), 'with it, sample1 says that it sets it');
};

subtest 'make help names every target' => sub {
    my (undef, $help) = make('help');
    for my $target (slurp('Makefile') =~ /^([a-z]+):/mg) {
        next if $target eq 'all' || $target eq 'help';
        like($help, qr/^make $target /m, $target);
    }
};
done_testing;
