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
chdir $tree or die "chdir $tree: $!";
system('cp -R sample1 sample4 && git init --quiet && git add .') == 0 or die 'cp or git';
my @all = map { ("sample$_/client", "sample$_/server") } 1 .. 4;
push @all, 'scripts/ladder';

# The exit status of make, and its complaints.
sub make (@arguments) {
    my ($status, undef, $complaint) = run('make', 'CFLAGS=-O0', @arguments);
    return "$status $complaint";
}

# The programs that are there.
sub there () {
    my @programs = grep { -x && -f } glob '*/*';
    return "@programs";
}

# The programs that make would build now: what is behind -o.
sub to_build () {
    my (undef, $commands) = run('make', '-n');
    return join ' ', $commands =~ / -o (\S+)/g;
}

subtest 'make sample1 builds the programs of sample1 alone' => sub {
    is(make('sample1'), '0 ', 'without a warning');
    is(there(), 'sample1/client sample1/server', 'they are there');
};

subtest 'make builds all programs, also those of a sample4, without a warning' => sub {
    is(make(), '0 ', 'without a warning');
    is(there(), "@all", 'they are there');
};

subtest 'git sees nothing of what make makes' => sub {
    is(said('git', 'ls-files', '--others', '--exclude-standard'), '0 ', 'no new file');
};

subtest 'make builds what has changed, and nothing else' => sub {
    is(to_build(), '', 'nothing');
    my %programs = (
        'sample2/server.c' => 'sample2/server',
        'scripts/read.c' => 'scripts/ladder',
        'scripts/ladder.h' => 'scripts/ladder',
        'scripts/read.h' => 'scripts/ladder',
    );
    for my $source (sort keys %programs) {
        my $modified = (stat $source)[9];
        utime undef, undef, $source or die "utime: $!";    # now
        is(to_build(), $programs{$source}, $source);
        utime $modified, $modified, $source or die "utime: $!";
    }
};

subtest 'make clean removes the programs, and leaves recordings and logs' => sub {
    mkdir 'captures' or die "mkdir: $!";
    my @kept = qw(captures/sample1.pcap captures/sample1.server.log server.log);
    for my $file (@kept) {
        save($file, 'x');
    }
    is(make('clean'), '0 ', 'it succeeds');
    is(there(), '', 'the programs are gone');
    is(join(' ', grep { -s } @kept, @sources), "@kept @sources", 'all else is there');
};

subtest 'make honours CC, CPPFLAGS, CFLAGS and LDFLAGS' => sub {
    my (undef, $commands) = run(qw(make -B -n CC=the-cc CPPFLAGS=-DA CFLAGS=-O1 LDFLAGS=-g));
    my @built = $commands =~ /^the-cc .* -DA -O1 -g -o (\S+) /mg;
    is(join(' ', sort @built), "@all", 'for all programs');
};

subtest 'what does not compile leaves nothing' => sub {
    my $compiler = shim('.', 'cc', 'echo half >sample1/server; chmod +x sample1/server; exit 1');
    like(make('-B', 'sample1/server', "CC=$compiler"), qr/^2 /, 'make fails');
    ok(!-e 'sample1/server', 'there is no program');
};
done_testing;
