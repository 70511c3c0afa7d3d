#!/usr/bin/perl
# make builds the programs of each sample and the ladder, and removes them: in a copy of the tree.
use v5.36;
use FindBin;
use lib $FindBin::Bin;
use Lab;

need(qw(make git));
# what make test was given is not for the makes here
delete @ENV{qw(MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES CC CPPFLAGS CFLAGS LDFLAGS)};
my $tree = tempdir(CLEANUP => 1);
my @sources = glob 'sample[1-9]/*.c scripts/*.[ch]';
system('cp', '--parents', 'Makefile', '.gitignore', @sources, $tree) == 0 or die 'cp';
my @all = map { ("sample$_/client", "sample$_/server") } 1 .. 3;
push @all, 'scripts/ladder' if -e 'scripts/ladder.h';

sub make (@arguments) {
    return run('make', '--no-print-directory', '-C', $tree, 'CFLAGS=-O0', @arguments);
}

# The exit status of make.
sub status (@arguments) {
    my ($status) = make(@arguments);
    return $status;
}

# The programs that are there.
sub built () {
    my @programs = grep { -x && -f } glob "$tree/*/*";
    return join ' ', sort map { s{^\Q$tree\E/}{}r } @programs;
}

subtest 'make builds all programs without a warning, and git ignores them' => sub {
    run('git', '-C', $tree, 'init', '--quiet');
    run('git', '-C', $tree, 'add', '.');
    my ($status, undef, $warnings) = make();
    is("$status $warnings", '0 ', 'no warning');
    is(built(), "@all", 'they are there');
    my @seen_by_git = run('git', '-C', $tree, 'ls-files', '--others', '--exclude-standard');
    is("@seen_by_git", '0  ', 'git sees no new file');
};

subtest 'make builds again what has changed, and nothing else' => sub {
    is(status('-q'), 0, 'after make there is nothing to do');
    utime undef, undef, "$tree/sample2/server.c" or die "utime: $!";    # now
    my (undef, $commands) = make('-n');
    is(join(' ', $commands =~ / -o (\S+)/g), 'sample2/server', 'a changed source is one program');
};

subtest 'make test fails if a test does' => sub {
    mkdir "$tree/tests" or die "mkdir: $!";
    for my $result ('ok', 'not ok') {
        save("$tree/tests/x.t", "#!/bin/sh\necho 1..1\necho $result 1\n");
        is(status('test'), $result eq 'ok' ? 0 : 2, $result);
    }
    run('rm', '-r', "$tree/tests");
};

subtest 'make clean removes the programs and nothing else' => sub {
    my @kept = qw(captures/sample1.pcap server.log sample1/server.c Makefile);
    mkdir "$tree/captures" or die "mkdir: $!";
    save("$tree/captures/sample1.pcap", 'x');
    save("$tree/server.log", 'x');
    is(status('clean'), 0, 'it succeeds');
    is(built(), '', 'the programs are gone');
    is(join(' ', grep { -s "$tree/$_" } @kept), "@kept", 'recordings, logs and sources are there');
};

subtest 'make sample1 builds the programs of sample1 alone' => sub {
    is(status('sample1'), 0, 'it succeeds');
    is(built(), 'sample1/client sample1/server', 'they are there');
};

subtest 'a sample4 is a directory: it is built and removed like the others' => sub {
    mkdir "$tree/sample4" or die "mkdir: $!";
    for my $role ('client', 'server') {
        save("$tree/sample4/$role.c", slurp("sample1/$role.c"));
    }
    is(status(), 0, 'make succeeds');
    is(built(), join(' ', sort @all, 'sample4/client', 'sample4/server'), 'it is built');
    make('clean');
    is(built(), '', 'it is removed');
};

subtest 'a program that does not compile is an error, and leaves nothing' => sub {
    save("$tree/sample4/server.c", 'int main(void) { return x; }');
    my ($status, undef, $why) = make('sample4');
    is($status, 2, 'make fails');
    like($why, qr/sample4\/server\.c:1:.*x/, 'in the words of the compiler');
    is(built(), '', 'there is no program');
    run('rm', '-r', "$tree/sample4");
};

subtest 'make honours CC, CPPFLAGS, CFLAGS and LDFLAGS' => sub {
    my (undef, $commands) = make(qw(-n CC=the-cc CPPFLAGS=-DA CFLAGS=-O1 LDFLAGS=-g));
    my @built = $commands =~ /^the-cc .* -DA -O1 -g -o (\S+) /mg;
    is(join(' ', sort @built), "@all", 'for all programs');
};

subtest 'make demo, make test and make lint build the programs first' => sub {
    for my $target ('demo', 'test', 'lint') {
        my (undef, $commands) = make('-n', $target);
        my @built = $commands =~ / -o (\S+)/g;
        is(join(' ', sort @built), "@all", "make $target");
    }
};

subtest 'make help names every target' => sub {
    my (undef, $help) = make('help');
    for my $target (slurp('Makefile') =~ /^([a-z]+):/mg) {
        next if $target eq 'all' || $target eq 'help';
        like($help, qr/^make $target /m, $target);
    }
};
done_testing;
