#!/usr/bin/perl
# make: each compiler builds the six programs without a warning, nothing twice, and each sample on its own.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Test::More;

need(qw(make gcc));
delete @ENV{qw(MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES CC CFLAGS CPPFLAGS LDFLAGS)};    # of the make that runs us
my $dir = tempdir(CLEANUP => 1);
my @programs = map { ("sample$_/client", "sample$_/server") } 1 .. 3;
for my $cc (qw(gcc clang musl-gcc tcc)) {
    my $tree = "$dir/$cc";
    mkdir $_ or die for $tree, map { "$tree/sample$_" } 1 .. 3;
    system('cp', 'Makefile', $tree) == 0 or die 'cp';
    system('cp', "$_.c", "$tree/$_.c") == 0 or die 'cp' for @programs;
  SKIP: {
        if (!grep { -x "$_/$cc" } split /:/, $ENV{PATH}) {
            fail("$cc is not installed") if ($ENV{CI} // '') eq 'true' && $cc ne 'tcc';
            skip "$cc is not installed", 3;
        }
        my ($status, $out, $err) = run('make', '-C', $tree, "CC=$cc");
        is("$status $err", '0 ', "CC=$cc builds without a warning");
        is(join(' ', map { (run("$tree/$_", 'x'))[0] } @programs), '2 2 2 2 2 2', "CC=$cc: the programs run");
        is((run('make', '-q', '-C', $tree, "CC=$cc"))[0], 0, "CC=$cc: a second make has nothing to do");
    }
}
my $tree = "$dir/gcc";
utime time + 5, time + 5, "$tree/sample2/server.c";
is(scalar(() = (run('make', '-C', $tree))[1] =~ / -o /g), 1, 'one changed file is one call');
run('make', '-C', $tree, 'clean');
is_deeply([grep { -e "$tree/$_" } @programs], [], 'make clean removes them');
run('make', '-C', $tree, 'sample2');
is_deeply([grep { -e "$tree/$_" } @programs], ['sample2/client', 'sample2/server'], 'make sample2 builds sample2');
like((run('make', '-n', 'test'))[1] . (run('make', '-n', '-B', 'test'))[1], qr/-o sample3\/client.*\n(?:.*\n)*prove/,
    'make test builds first');

# A platform without TCP_QUICKACK.
mkdir $_ or die for "$dir/include", "$dir/include/netinet";
open my $header, '>', "$dir/include/netinet/tcp.h" or die;
print $header "#include_next <netinet/tcp.h>\n#undef TCP_QUICKACK\n";
close $header or die;
my ($status, $out, $err) = run('make', '-C', $tree, "CPPFLAGS=-isystem $dir/include", 'CFLAGS=-O1', 'LDFLAGS=-g', 'sample1/server');
is("$status $err", '0 ', 'without TCP_QUICKACK it still compiles');
unlike(slurp("$tree/sample1/server"), qr/TCP_QUICKACK/, '... and does not speak of it');
like($out, qr/ -isystem .* -O1 -g -o /, 'CPPFLAGS, CFLAGS and LDFLAGS are honoured');
done_testing;
