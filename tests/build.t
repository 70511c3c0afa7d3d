#!/usr/bin/perl
# make: each compiler builds the six programs without a warning, in C99 to C23, and nothing twice.
use v5.36;
use FindBin; use lib $FindBin::Bin; use Lab;

need(qw(make gcc clang musl-gcc));
delete @ENV{qw(MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES CC CFLAGS CPPFLAGS LDFLAGS)};    # of make test
my $tree = tempdir(CLEANUP => 1);
my @programs = map { ("sample$_/client", "sample$_/server") } 1 .. 3;
system('cp', '-R', 'Makefile', glob('sample[123]'), $tree) == 0 or die 'cp';
sub make (@arguments) { return run('make', '-j4', '-C', $tree, @arguments) }
sub built () { return join ' ', grep { -e "$tree/$_" } @programs }

make('clean');
is(built(), '', 'make clean removes the programs');
make('sample1');
is(built(), 'sample1/client sample1/server', 'make sample1 builds sample1');
for my $cc (qw(gcc clang musl-gcc), which('tcc') // ()) {
    for my $cflags ('-O2 -g', '-std=c99 -pedantic -O2', '-std=c2x') {
        my ($status, undef, $err) = make('-B', "CC=$cc", "CFLAGS=$cflags");
        is("$status $err", '0 ', "$cc $cflags builds without a warning");
        is(said('timeout', 60, "$tree/$_", ''), "2 : unexpected argument (usage: ./$_)\n",
            "and $_ runs: an argument is met with the usage and status 2") for @programs;
    }
}
is((make('-q'))[0], 0, 'a second make does nothing');
utime time + 5, time + 5, "$tree/sample2/server.c";
is(join(' ', (make('-n'))[1] =~ / -o (\S+)/g), 'sample2/server', 'one changed file is one program');
my $flags = (make(qw(-n -B CPPFLAGS=-DA CFLAGS=-O1 LDFLAGS=-g)))[1];
like($flags, qr/ -DA -O1 -g -o /, 'CPPFLAGS, CFLAGS and LDFLAGS are honoured');

# A platform without TCP_QUICKACK.
mkdir $_ or die for "$tree/include", "$tree/include/netinet";
save("$tree/include/netinet/tcp.h", "#include_next <netinet/tcp.h>\n#undef TCP_QUICKACK\n");
my ($status, undef, $err) = make('-B', "CPPFLAGS=-isystem $tree/include", 'sample1');
is("$status $err", '0 ', 'without TCP_QUICKACK it still compiles');
unlike(slurp("$tree/sample1/server"), qr/TCP_QUICKACK/, 'and does not speak of it');
done_testing;
