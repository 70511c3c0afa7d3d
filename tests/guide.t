#!/usr/bin/perl
# Does what TCPDUMP_GUIDE.md and README.md tell their reader to do, and compares what they print.
# usage: tests/guide.t [--update] [FILE.md...]    --update writes the real outputs into the files
#
#   ```sh       commands, run as they stand, in the lab and in a copy of the project (sudo is passed
#               through). "# ターミナル..." begins another terminal. A capture gets the sample whose
#               port it names, unless the block starts one, and Ctrl-C when the packets are there.
#   ```text     the output of the commands before it, one block a terminal; ```c, ```diff and
#               ```mermaid too. Byte for byte, unless packets are captured live: then times, client
#               ports, absolute numbers, windows and ids may differ, and nothing else.
#   ```diff     with "--- a/" it is a patch, applied for the commands after it, up to the next heading.
# Markers stand before a block, and the reader does not see them:
#   <!-- test: exit 1 -->           the exit status, if it is not 0
#   <!-- test: needs tshark -->     left out where that is not installed
#   <!-- test: output of COMMAND --> an output whose command the reader does not see
#   <!-- test: not run, REASON -->  for what no test can do: installing, cloning, the tests themselves
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use File::Temp 'tempdir';
use Test::More;
use Lab;
use Guide;
need(qw(tcpdump script git make ss nstat nft));

my $update = @ARGV && $ARGV[0] eq '--update' && shift;
my @files = @ARGV ? @ARGV : grep { -e } qw(TCPDUMP_GUIDE.md README.md);

# ---- the reader's machine: a copy of the project, built, and a sudo that needs no password -------
my $dir = tempdir(CLEANUP => 1);
chmod 0755, $dir;    # tcpdump, once it has dropped to its own user, comes back here to write
mkdir "$dir/$_" for qw(bin project project/tests);
open my $sudo, '>', "$dir/bin/sudo" or die "sudo: $!";
print $sudo "#!/bin/sh\nexec \"\$@\"\n";
close $sudo;
chmod 0755, "$dir/bin/sudo";
@ENV{qw(PATH TZ NO_COLOR TERM SHELL USER MAKEFLAGS LC_ALL GIT_CEILING_DIRECTORIES)} =
    ("$dir/bin:$ENV{PATH}:/usr/sbin:/sbin", 'JST-9', 1, 'dumb', '/bin/bash', scalar getpwuid $<, ' -- CFLAGS=-O0', 'C.UTF-8', $dir);
delete @ENV{qw(MAKELEVEL MFLAGS)};
system("cp -a Makefile sample? scripts $dir/project && cp -a tests/reference $dir/project/tests" .
    " && make -s -C $dir/project") == 0 or BAIL_OUT('no copy of the project');

# ---- do it ---------------------------------------------------------------------------------------
my %text = map { $_ => slurp($_) } @files;
my %page = map { $_ => Guide::parse($text{$_}, $_) } @files;
my @units = map { @{ $page{$_}{units} } } @files;
my (%results, %problems);
# Live packets are compared again when they differ: two CPUs may swap two packets, once in 60,000.
for my $try ($update ? 1 : 1 .. 3) {
    my @todo = grep { $try == 1 || @{ $problems{ $_->{name} } } } @units;
    Guide::run_units("$dir/project", 10, \%results, @todo);
    $problems{ $_->{name} } = [Guide::check($_, \%results)] for @todo;
}
for my $file ($update ? @files : ()) {
    open my $out, '>', $file or die "$file: $!";
    print $out Guide::update($text{$file}, $page{$file}, \%results);
}
is(join("\n", @{ $page{$_}{problems} }), '', "$_: every block is a command, a patch or an output") for @files;
is(join("\n", Guide::check_prose($page{$_})), '', "$_: links, files, flags and labs exist") for @files;
is(join("\n", @{ $problems{ $_->{name} } }), '', $_->{name}) for @units;

# ---- the test of the test: what is wrong in a page is found --------------------------------------
my @missed;
for my $unit (grep { !@{ $problems{ $_->{name} } } } @units) {
    for my $command (grep { $_->{kind} eq 'sh' && !$_->{skip} } @{ $unit->{blocks} }) {
        for my $t (0 .. $#{ $command->{outputs} }) {
            my $output = $command->{outputs}[$t];
            my $body = $output->{body};
            my @wrong = ("$body\n", $body =~ s/.*\n\z//r, $body =~ s/[[:alpha:]](?=[^[:alpha:]]*\z)/_/r);
            push @wrong, $body =~ s/Flags \[\K./U/r, $body =~ s/, length \K\d+/99/r if $body =~ /Flags/;
            push @wrong, $body =~ s/seq 1:\K5/6/r if $body =~ /seq 1:5/;
            push @wrong, map { my $at = $_; $body =~ s/^.{$at}\K./$& eq '~' ? '_' : '~'/ser } 0 .. length($body) - 2 if !$command->{live};
            for (grep { $_ ne $body } @wrong) {
                local $output->{body} = $_;
                push @missed, "line $output->{line}: $_" if !Guide::differs($command, $t, \%results);
            }
        }
    }
}
is(join("\n", @missed), '', 'an output with a wrong character, line or number is found');

my ($guide) = grep { /GUIDE/ } @files;
SKIP: {
    skip 'no guide', 1 if !$guide;
    my %wrong = (
        'an unmarked block' => sub { s/^## .*\n\K/\n```\nls\n```\n/m },
        'an output without a command' => sub { s/^## .*\n\K/\n```text\nls\n```\n/m },
        'an unknown marker' => sub { s/^(?=```sh)/<!-- test: later -->\n/m },
        'a marker without a block' => sub { s/^## .*\n\K/<!-- test: exit 1 -->\nText.\n/m },
        'another command' => sub { s/^sudo tcpdump -i lo \K-nn/-n/m },
        'another patch' => sub { s/^\+.*sleep\(1\K/2/m },
        'a block without an end' => sub { s/^```\n(?!.*^```\n)//ms },
        'another exit status' => sub { s/test: exit 1/test: exit 2/ },
        'a broken anchor' => sub { s/\]\(#\K/x/ },
        'a broken link' => sub { s/\z/[x](tests\/no.pcap)\n/ },
        'a file that is not there' => sub { s/`tests\/reference\/\K/x/ },
        'a flag that no packet has' => sub { s/^\| `\[F/| `[U/m },
        'a flag in the wrong packet' => sub { s/^\| FIN .*\K8/7/m },
        'sudo without a lab' => sub { s/\z/## x\n```sh\nsudo tcpdump -D -i lo\n```\n/ },
    );
    my @unseen;
    for my $what (sort keys %wrong) {
        local $_ = $text{$guide};
        $wrong{$what}->();
        my $page = Guide::parse($_, $guide);
        push @unseen, $what if $_ eq $text{$guide} || !@{ $page->{problems} } &&
            !Guide::check_prose($page) && !grep { !@{ $problems{ $_->{name} } // [] } && Guide::check($_, \%results) } @{ $page->{units} };
    }
    is("@unseen", '', 'so is ' . join ', ', sort keys %wrong);
}
done_testing;
