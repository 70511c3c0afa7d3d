#!/usr/bin/perl
# make: each compiler builds the six programs without a warning, in C99 to C23, and nothing twice. .ci/run:
# what it has to run is run, and its failure is its own.
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
is(join(' ', map { /^(the-compiler|prove)/ } `make -sBn test CC=the-compiler`), 'the-compiler ' x 6 . 'prove',
    'make test builds the programs first');

# A platform without TCP_QUICKACK.
mkdir $_ or die for "$tree/include", "$tree/include/netinet";
save("$tree/include/netinet/tcp.h", "#include_next <netinet/tcp.h>\n#undef TCP_QUICKACK\n");
my ($status, undef, $err) = make('-B', "CPPFLAGS=-isystem $tree/include", 'sample1');
is("$status $err", '0 ', 'without TCP_QUICKACK it still compiles');
unlike(slurp("$tree/sample1/server"), qr/TCP_QUICKACK/, 'and does not speak of it');

# ---- .ci/run -------------------------------------------------------------------------------------
my $dir = tempdir(CLEANUP => 1); # with its own PATH, where there is no sudo
my $clone = "$dir/a clone";
system("chmod 755 $dir && cp .ci/fresh-root $dir && mkdir '$clone' $dir/bin && cp -r .ci '$clone' &&
    for tool in awk bash cat dirname grep mktemp rm sed tee; do
        ln -s \$(command -v \$tool) $dir/bin || exit
    done") == 0 or die;

# What .ci/run does: COMMAND is in README's first block, make BAD fails, ROOT is the last line of fresh-root.
sub ci ($command, $bad, $root) {
    save("$clone/README.md", "<!-- the demo, as .ci/run runs it -->\n```sh\nsudo echo ran as root\n" .
        "$command\nmake demo\n```\necho ran no\n" .
        "<!-- the tests, as .ci/run runs them -->\n<!-- -->\n```sh\nmake test\n```\n");
    save("$dir/bin/make", qq(#!/bin/sh\necho "ran \$1, CI=\$CI"\n[ \$1 != test ] || echo 'Files=2, Tests=10,'
    [ \$1 != $bad ] || { [ \$1 = lint ] || echo 'x.t (Wstat: 768 (exited 3) Tests: 5 Failed: 3)'; false; }));
    save("$clone/.ci/fresh-root", qq(#!/bin/sh\necho "ran \$2 \$(grep -c '^make' "\$3")"\n$root));
    my $said = `cd / && env -u CI PATH=$dir/bin bash '$clone/.ci/run' 2>&1 </dev/null`;
    return join ' | ', $? >> 8, $said =~ /^ran (.*)/mg, $said =~ /(.*)\n\z/;
}

my $debian = `cat /etc/os-release` =~ /^VERSION_CODENAME=(.*)/m ? $1 : '';
my $n = grep { $_ ne $debian } 'bookworm', 'trixie';
my $roots = 'ja_JP.UTF-8 3 | ' x $n;
my $tests = 'as root | demo, CI=true | test, CI=true';
my ($all, $sum) = ("$tests | lint, CI=true | $roots", 10 + 5 * $n);
is(ci('', '-', 'exit 125'), "0 | ${all}10 passed, 0 failed, $n skipped", 'all is run; no root, no failure');
is(ci('', '-', 'echo "Files=1, Tests=5,"'), "0 | $all$sum passed, 0 failed, 0 skipped", 'a root counts');
is(ci('', '-', 'exit 1'), "1 | ${all}10 passed, $n failed, 0 skipped", 'what fails there fails');
is(ci('', 'lint', 'exit 125'), "1 | ${all}10 passed, 1 failed, $n skipped", 'so does lint');
is(ci('', 'test', 'exit 125'), "1 | $tests | ${roots}7 passed, 3 failed, $n skipped", 'so does a test');
is(ci('false', '-', 'exit 125'), "1 | as root | ${roots}0 passed, 1 failed, $n skipped", 'so does a command');
save("$dir/bin/sudo", qq(#!/bin/sh\necho ran sudo\n"\$@"\n));
like(ci('', '-', 'exit 125'), qr/^0 \| sudo \| as root/, 'sudo is used where there is one');
my @nobody = $> ? () : qw(setpriv --reuid 65534 --regid 65534 --clear-groups);
my $said = `@nobody $dir/fresh-root trixie C /dev/null 2>&1`;
is(($? >> 8) . $said =~ tr/\n//, '1251', 'a root that cannot be had: 125 and one line') or diag($said);
done_testing;
