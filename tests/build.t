#!/usr/bin/perl
# make: each of three compilers builds the six programs without a warning, and nothing twice.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use File::Temp 'tempdir';
use Test::More;

need(qw(make gcc readelf));
delete @ENV{qw(MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES CC CFLAGS CPPFLAGS LDFLAGS)};    # of the make that runs us
my $dir = tempdir(CLEANUP => 1);
my @programs = map { ("sample$_/client", "sample$_/server") } 1 .. 3;
my @tree;
for my $cc (qw(gcc clang musl-gcc)) {
    my $tree = "$dir/$cc";
    push @tree, $tree;
    mkdir $_ or die for $tree, map { "$tree/sample$_" } 1 .. 3;
    system('cp', 'Makefile', $tree) == 0 or die 'cp';
    system('cp', "$_.c", "$tree/$_.c") == 0 or die 'cp' for @programs;
  SKIP: {
        if (!grep { -x "$_/$cc" } split /:/, $ENV{PATH}) {
            fail("$cc is not installed") if ($ENV{CI} // '') eq 'true';
            skip "$cc is not installed", 4;
        }
        my ($status, $out, $err) = run('make', '-j4', '-C', $tree, "CC=$cc");
        is("$status $err", '0 ', "CC=$cc builds without a warning");
        is(scalar(() = $out =~ /^$cc /mg), 6, "CC=$cc: with six calls");
        is(join(' ', map { (run("$tree/$_", 'x'))[0] } @programs), '2 2 2 2 2 2', "CC=$cc: the programs run");
        like((run('make', '-C', $tree, "CC=$cc"))[1], qr/Nothing to be done/, "CC=$cc: a second make does nothing");
    }
}
my $tree = $tree[0];
my ($status, $out, $err) = run('readelf', '-hd', map { "$tree/$_" } @programs);
is(scalar(() = $out =~ /Type: +DYN/g), 6, 'the programs are position-independent');
is(scalar(() = $out =~ /Flags:.* NOW/g), 6, 'and bound at their start');
utime time + 5, time + 5, "$tree/sample2/server.c";
is(scalar(() = (run('make', '-C', $tree))[1] =~ / -o /g), 1, 'one changed file is one call');
run('make', '-C', $tree, 'clean');
is_deeply([grep { -e "$tree/$_" } @programs], [], 'make clean removes them');

# A platform without TCP_QUICKACK.
mkdir $_ or die for "$dir/include", "$dir/include/netinet";
open my $header, '>', "$dir/include/netinet/tcp.h" or die;
print $header "#include_next <netinet/tcp.h>\n#undef TCP_QUICKACK\n";
close $header or die;
($status, $out, $err) = run('make', '-C', $tree, 'CPPFLAGS=-isystem ' . "$dir/include", 'CFLAGS=-O1', 'LDFLAGS=-g', 'sample1/server');
is("$status $err", '0 ', 'without TCP_QUICKACK it still compiles');
unlike(slurp("$tree/sample1/server"), qr/TCP_QUICKACK/, 'and does not speak of it');
like($out, qr/ -O1 -g -o /, 'CPPFLAGS, CFLAGS and LDFLAGS are honoured');
done_testing;
