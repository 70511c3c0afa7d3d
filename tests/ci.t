#!/usr/bin/perl
# .ci/run and the Makefile: what they have to run is run, and its failure is theirs.
use strict;
use warnings;
use File::Temp 'tempdir';
use Test::More;

my $dir = tempdir(CLEANUP => 1);
my $clone = "$dir/a clone";
system("chmod 755 $dir && mkdir '$clone' $dir/bin && cp -r .ci Makefile sample? '$clone' && cp .ci/fresh-root $dir &&
    rm -f '$clone'/sample?/*[!c] && for tool in awk bash cat dirname grep mktemp rm sed tee; do
        ln -s \$(command -v \$tool) $dir/bin || exit; done") == 0 or die; # no sudo there

sub put {
    my ($file, $text) = @_;
    open my $out, '>', $file or die "$file: $!";
    print $out $text and close $out and chmod 0755, $file or die "$file: $!";
}

# .ci/run with COMMAND in README's first block, make failing for BAD, and a fresh root that ends with the line ROOT.
sub ci {
    my ($command, $bad, $root) = @_;
    put("$clone/README.md", "echo ran no\n<!-- the demo, as .ci/run runs it -->\n```sh\nsudo echo ran a line of sudo\n$command\n"
        . "make demo\n```\necho ran no\n<!-- the tests, as .ci/run runs them -->\n<!-- -->\n```sh\nmake test\n```\necho ran no\n");
    put("$dir/bin/make", qq(#!/bin/sh\necho "ran \$1, CI=\$CI"\n[ \$1 != test ] || echo 'Files=2, Tests=10,  1 s'
        [ \$1 != $bad ] || { [ \$1 != test ] || echo 'Failed 1/2 test programs. 3/10 subtests failed.'; exit 2; }\n));
    put("$clone/.ci/fresh-root", qq(#!/bin/sh\necho "ran \$2 \$(grep -c '^make' "\$3")"\n$root\n));
    my $said = `cd / && env -u CI PATH=$dir/bin bash '$clone/.ci/run' 2>&1 </dev/null`;
    return join ' | ', $? >> 8, $said =~ /^ran (.*)/mg, $said =~ /^(.*)\n\z/m;
}

my $debian = `cat /etc/os-release` =~ /^VERSION_CODENAME=(.*)/m ? $1 : '';
my $n = grep { $_ ne $debian } 'bookworm', 'trixie';
my $roots = join ' | ', ('ja_JP.UTF-8 3') x $n;
my $before = 'a line of sudo | demo, CI=true | test, CI=true';
my $all = "$before | lint, CI=true | $roots";
is(ci('', 'none', 'exit 125'), "0 | $all | 10 passed, 0 failed, $n skipped", 'README and lint are run, and a root that cannot be had is no failure');
is(ci('', 'none', "echo 'Files=1, Tests=5, '"), "0 | $all | @{[10 + 5 * $n]} passed, 0 failed, 0 skipped", 'what passes in a fresh root counts');
is(ci('', 'none', 'exit 1'), "1 | $all | 10 passed, $n failed, 0 skipped", 'what fails there fails');
is(ci('', 'lint', 'exit 125'), "1 | $all | 10 passed, 1 failed, $n skipped", 'so does lint');
is(ci('', 'test', 'exit 125'), "1 | $before | $roots | 7 passed, 3 failed, $n skipped", 'so does a test');
is(ci('false', 'none', 'exit 125'), "1 | a line of sudo | $roots | 0 passed, 1 failed, $n skipped", 'so does a command of README');
put("$dir/bin/sudo", qq(#!/bin/sh\necho ran sudo\n"\$@"\n));
like(ci('', 'none', 'exit 125'), qr/^0 \| sudo \| a line/, 'sudo is used where there is one');

my @nobody = $> == 0 ? qw(setpriv --reuid 65534 --regid 65534 --clear-groups) : ();
my $said = `@nobody $dir/fresh-root trixie C /dev/null 2>&1`;
is(($? >> 8) . $said =~ tr/\n//, '1251', 'no fresh root: one line and 125') or diag($said);

my @made = `make -s -C '$clone' -n test CC=the-compiler`;
is(join(' ', map { /^(the-compiler|prove)/ } @made), 'the-compiler ' x 6 . 'prove', 'make test builds the programs first');
done_testing();
