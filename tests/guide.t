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
#   ```diff     with "--- a/" it is a patch, applied for the commands after it, up to the next heading:
#               before them, but after their own "git checkout", or where they say "git apply".
# Markers stand before a block, and the reader does not see them:
#   <!-- test: exit 1 -->           the exit status, if it is not 0
#   <!-- test: needs tshark -->     left out where that is not installed
#   <!-- test: output of COMMAND --> an output whose command the reader does not see
#   <!-- test: not run, REASON -->  for what no test can do: installing, cloning, the tests themselves
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Encode qw(decode encode);
use File::Temp 'tempdir';
use Test::More;
use Lab;
use Guide;
need(qw(tcpdump script git make ss nstat nft taskset));

my $update = @ARGV && $ARGV[0] eq '--update' && shift;
my @files = @ARGV ? @ARGV : qw(TCPDUMP_GUIDE.md README.md);
$Guide::no_lab = 'no lab: ' . `scripts/lab.sh true 2>&1 </dev/null` =~ s/\n.*//sr;
$Guide::no_lab = '' if !$?;

# ---- the reader's machine: a clone of the project, built, and a sudo that needs no password ------
my $dir = tempdir(CLEANUP => 1);
chmod 0755, $dir;    # tcpdump, once it has dropped to its own user, comes back here to write
my ($sudo) = map { "exec $_" } grep { -x } map { "$_/sudo" } split /:/, $ENV{PATH};    # lab.sh may need it
mkdir "$dir/$_" for qw(bin project project/tests);
open my $fake, '>', "$dir/bin/sudo" or die "sudo: $!";
print $fake "#!/bin/sh\ncase \$1 in -* | unshare) ", $sudo // '', ' "$@" ;; *) exec "$@" ;; esac', "\n";
close $fake;
chmod 0755, "$dir/bin/sudo";
delete @ENV{qw(MAKELEVEL MFLAGS LANGUAGE), grep { /^GIT_/ } keys %ENV};
@ENV{qw(PATH TZ LC_ALL TERM SHELL USER MAKEFLAGS)} = ("$dir/bin:$ENV{PATH}:/usr/sbin:/sbin",
    'JST-9', 'C.UTF-8',
    'dumb', '/bin/bash', getpwuid($<) // $<, ' -- CFLAGS=-O0');
@ENV{map { ("GIT_${_}_NAME", "GIT_${_}_EMAIL") } qw(AUTHOR COMMITTER)} = ('reader') x 4;
@ENV{qw(GIT_CONFIG_GLOBAL GIT_CONFIG_NOSYSTEM GIT_CEILING_DIRECTORIES)} = ('/dev/null', 1, $dir);
system('cp', '-R', 'Makefile', '.gitignore', glob('sample?'), 'scripts', "$dir/project") == 0 &&
    system('cp', '-R', 'tests/reference', "$dir/project/tests") == 0
        && system("cd $dir/project && make -s clean &&
    git init -q && git add . && git commit -q -m project && make -s") == 0
    or BAIL_OUT('no copy of the project');

# ---- what the text says beside its blocks --------------------------------------------------------
my (%list, %fact, %tried);
for (<DATA>) { push @{ $list{$1} }, split / \| /, $2 if /^(\w+): (.*)/ }
my %name = qw(S SYN F FIN R RST P PSH . ACK);
my %letter = reverse %name;
for (glob 'tests/reference/*.pcap') {    # what may be said of this recording, and ('') of any
    my ($about) = /([^\/]+)\.pcap/;
    my @flags = map { /([A-Z.]+)/ } map { ref ? @$_ : split } conversations($_);
    my @names = map { $name{ substr $_, 0, 1 } } @flags;
    my ($first) = grep { $names[$_] =~ /FIN|RST/ } 0 .. $#flags;
    my @seconds = (0, slurp(($about =~ s/lost-rst/sample2/r) . '/client.c')
        =~ /(?:sleep\(|left = |tv_sec = )(\d+)/g);
    my @facts = ($about =~ /(\d)$/ ? "808$1" : (), map({ ("$_ s", "$_ 秒") } @seconds),
        map({ ("$_ パケット", "$_ packets") } 1, scalar @flags, @flags - $first),
        $names[$first] eq 'FIN' ? ('FIN', 'no RST', 'クライアント TIME-WAIT') : ('RST', 'no FIN', 'なし TIME-WAIT'));
    push @facts, map { ("$_ $flags[$_ - 1]", "$_ $letter{$names[$_ - 1]}", "$_ .") } 1 .. @flags;
    $fact{$about} = { names => "@names", map { $_ => 1 } @facts };
    $fact{''}{$_} = 1 for @facts;
}

# What is not so in LINE, in a section about SAMPLE: a row of a table, below HEAD, is about the sample in its
# first cell, a number about the last one named before it. SHOWN are numbers in the outputs beside it.
sub wrong_facts {
    my ($line, $sample, $head, $shown) = @_;
    my ($row, @said) = $line =~ /^\|\W*(?:tests\/reference\/)?(lost-rst|sample[123])/i ? lc $1 : undef;
    my @cells = split /\s*\|\s*/, $line =~ /^\|/ ? $line : '';
    if ($row) {
        $line = join ' 。 ', map { "$cells[$_] " . ($head->[$_] // '') } 1 .. $#cells;
        push @said, map { ["$row names", $_] }
            $line =~ /((?:SYN|FIN|RST|ACK)(?:(?:, | → )(?:SYN|FIN|RST|ACK))+)/g;
        push @said, map { [$row, $_] } $line =~ /((?:no )?(?:FIN|RST)|[^ ]+ TIME-WAIT)/g
            if $row ne 'lost-rst';
    }
    for my $clause (split /。/, $line) {
        my $about = $row // ($clause =~ /届かな|失われ|lost/ ? 'lost-rst' : '');
        while ($clause =~ /(lost-rst|sample[123])|(808\d)|(?<![\d.,])(\d+) ?(パケット|packets|秒|s\b)/gi) {
            my ($named, $port, $number, $unit) = ($1, $2, $3, $4);
            $about = lc $named if $named && !$row && $about ne 'lost-rst';
            push @said, [$about, $port] if $port && $row;
            push @said, [$about, "$number $unit"] if $unit && !$shown->{$number} &&
                ($unit =~ /ト|t/ || $about eq 'sample3');
        }
    }
    $sample = $1 if $line =~ /(sample[123]|lost-rst) の \d+ 番目/;
    my ($code) = map { /^`\[?([A-Z.]+)\]?`$/ ? $1 : () } @cells;
    my ($names) = grep { /^[A-Z]{3}(?: \+ [A-Z]{3})*$/ } @cells;
    push @said, ['', $names] if $code && $names
        && $code ne join '', map { $letter{$_} // '?' } split / \+ /, $names;
    while ($sample && $line =~ /(\d+)(?: 番目(?:の )?|\. )(?:`\[([A-Z.]+)\]`)?/g) {
        push @said, [$sample, "$1 " . ($code // $2)] if $code // $2;
    }
    return map { "not so: $_->[1] in $line" }
        grep { $_->[0] =~ /(.*) names/ ? index($fact{$1}{names}, $_->[1] =~ s/\W+/ /gr) < 0 :
        !$fact{ $_->[0] }{ $_->[1] } } @said;
}

# Whether a command in the text is wrong: its script, option, target or setting is not there, or it fails.
sub wrong_command {
    local ($_) = @_;
    my $setting = s/^([A-Z]+)=('[^']*'|\S*) // ? $1 : '';
    my ($file, $word) = split ' ' or return 0;
    $file = $word // return 0 if $file eq 'prove';
    $file .= '.c' if $file =~ s{^\./(?=sample\d/)}{};
    if ($file =~ m{^(?:scripts|tests|sample\d)/}) {
        return !-e $file if !defined $word || $file =~ /\.c$/;
        return 1 if !-e $file;
        my $source = join '', map { slurp($_) } $file, /scripts\/[\w.]+/g;
        return $source !~ /\b$setting\b/ || /sample[^123N]/ ||
            grep { $source !~ /^#.*(?<![\w-])\Q$_\E\b/m } s/ -- .*//r =~ /(?<= )--?\w[\w-]*/g;
    }
    return slurp('Makefile') !~ /^(?:.* )?\Q$word\E\b.*:/m if $file eq 'make' && defined $word;
    return 0 if !/^(?:sudo )?(?:tcpdump|ss|nstat|ip|diff) / || /\b[A-Z]{4,}\b|…|\$| -[rwc]$/;
    s/^sudo //, s/ -i \w+| -w \S+//g, s/^tcpdump/$& -r tests\/reference\/sample1.pcap/ if /tcpdump/;
    $tried{$_} //= system("cd $dir/project && ($_) >/dev/null 2>&1 </dev/null") >> 8;
    return $tried{$_} > (/^diff/ ? 1 : 0);
}

# What is wrong with the PAGE beside its blocks.
sub wrong_text {
    my ($page) = @_;
    my ($guide, @wrong, %anchor, %times, $sample, $head) = $page->{file} =~ /GUIDE/;
    my $prose = join '', map { $_->{prose} } @{ $page->{units} };
    for (decode('UTF-8', $prose) =~ /^#+ (.*)/mg) {    # as GitHub makes them
        my $anchor = encode('UTF-8', lc =~ s/[^\w\s-]//gr =~ s/\s/-/gr);
        $anchor{ $anchor . ($times{$anchor}++ ? '-' . ($times{$anchor} - 1) : '') } = 1;
    }
    push @wrong, map { "a link to $_" } grep { !(/^https:/ || (/^#(.*)/ ? $anchor{$1} : -e)) }
        $prose =~ /\]\(([^)]+)\)/g;
    push @wrong, map { "a command: $_" } grep { wrong_command($_) } map { split / && |; / }
        $prose =~ /(?<!`)`([^`\n]+)`/g;
    my $seen = join ' | ', 'S R.', map { join ' ', map { s/([A-Z]{3})(, )?/$letter{$1}/gr } grep { defined }
        $_->{body} =~ /Flags \[([A-Z.]+)\]|─ ([A-Z]{3}(?:, ACK)?) /g }
        map { @{ $_->{outputs} } } map { @{ $_->{blocks} // [] } } @{ $page->{units} };
    push @wrong, map { "never seen: $_" } grep { $seen !~ /(?<![^ ])\Q$_\E(?![^ ])/ } map { s/`| →|[][]//gr }
        map { /(`\[[A-Z.]+\]`(?:(?: | → )`\[[A-Z.]+\]`)*)/g } $prose =~ /^\|.*/mg;
    for my $unit (@{ $page->{units} }) {
        $sample = $1 ? lc $1 : '' if $unit->{name} =~ /:\d+ (?:##? |### (?:(Sample\d):)?)/;
        my %shown = map { $_ => 1 } $unit->{text} =~ /(?:-c |^|, |: )(\d+)(?= packets|[ '])/mg;
        for (split /\n/, $unit->{prose}) {
            $head = /^\|/ ? $head // [split /\s*\|\s*/] : undef;
            push @wrong, wrong_facts($_, $sample, $head, \%shown);
        }
    }
    my %heading = map { s/ //gr => 1 } $prose =~ /^#+ (.*)/mg;
    push @wrong, map { "no heading $_" } grep { !$heading{ s/ //gr } }
        @{ $list{ $guide ? 'guide' : 'readme' } };
    my @install = $page->{commands} =~ /^sudo apt-get install (.*)/mg;
    for my $n ($guide ? () : (0, 1)) {
        my $source = join '', map { slurp($_) } 'Makefile', glob $n ? 'scripts/* tests/*' : 'scripts/*';
        my %package = map { split /=/ } @{ $list{tools} }, $n ? @{ $list{testtools} } : ();
        push @wrong, map { "not installed: $_" } grep { $source =~ /(?<![\w-])\Q$_\E(?![\w-])/ &&
            ($install[$n] // '') !~ /(?<![\w-])\Q$package{$_}\E(?![\w-])/ } keys %package;
    }
    return @wrong if !$guide;
    push @wrong, map { "no command $_" } grep { "$page->{commands}$prose" !~ /(?:^|`)\Q$_\E(?:`| *$)/m }
        map { /^-/ ? "sudo tcpdump -i lo $_" : $_ }
        @{ $list{commands} };
    push @wrong, map { "not in each sample: $_" } grep { 3 > (() = $prose =~ /$_/g) }
        qw(ポート: 確認ポイント 期待される出力 重要);
    for (@{ $list{terms} }) {
        my ($bad, $better) = map { decode('UTF-8', $_) } split /=/;
        push @wrong, map { encode('UTF-8', "$_ (better: $better)") }
            decode('UTF-8', $prose) =~ /.{0,20}(?:$bad).{0,20}/g;
    }
    push @wrong, 'over 1050 lines or 62 KiB'
        if length $page->{text} > 62 * 1024 || 1050 < $page->{text} =~ tr/\n//;
    return @wrong;
}

# ---- do it ---------------------------------------------------------------------------------------
my %page = map { $_ => Guide::parse($_, slurp($_)) } @files;
my @units = grep { $_->{blocks} } map { @{ $page{$_}{units} } } @files;
my %results = Guide::run_units("$dir/project", @units);
if (my @again = grep { !$update && Guide::check($_, \%results) } @units) {
    $Guide::patience = 6;    # what nobody sees may not have been written in time
    %results = (%results, Guide::run_units("$dir/project", @again));
}
for my $file ($update ? @files : ()) {
    open my $out, '>', $file or die "$file: $!";
    print $out Guide::update($page{$file}, \%results);
}
is($Guide::no_lab, '', 'there is a lab') if ($ENV{CI} // '') eq 'true';
is(join("\n", @{ $page{$_}{problems} }), '', "$_: every block is a command, a patch or an output") for @files;
is(join("\n", wrong_text($page{$_})), '', "$_: links, commands, numbers and headings are right") for @files;
for my $unit (@units) {
  SKIP: {
        my $problems = join "\n", Guide::check($unit, \%results);
        my ($skip) = map { $_->{skip} // () } @{ $unit->{blocks} };
        skip("$unit->{name}: $skip", 1) if $skip && !$problems;
        is($problems, '', $unit->{name});
    }
}

# ---- the test of the test: what is wrong in a page is found --------------------------------------
my @missed;
for my $command (grep { $_->{terminals} && $results{ $_->{key} } } map { @{ $_->{blocks} } } @units) {
    for my $t (grep { !Guide::differs($command, $_, \%results) } 0 .. $#{ $command->{outputs} }) {
        my $output = $command->{outputs}[$t];
        my @wrong = map { $output->{body} =~ s/$_/9/r }
            qr/Flags \[\K./, qr/, length \K\d+/, qr/seq 1:\K5/, qr/\z/;
        for (@wrong, map { $output->{body} =~ s/^(?:.*\n){$_}.*\K[[:alnum:]]/_/r }
            0 .. $output->{body} =~ tr/\n//) {
            local $output->{body} = $_ ne $output->{body} ? $_ : next;
            push @missed, "line $output->{line}: $_" if !Guide::differs($command, $t, \%results);
        }
    }
}
is(join("\n", @missed), '', 'an output with a wrong flag, number, line or character in a line is found');

my %damage = (    # each is found in every page that has the place
    'an unmarked block' => sub { s/^## .*\n\K/\n```\nls\n```\n/m },
    'an output without a command' => sub { s/^## .*\n\K/\n```text\nls\n```\n/m },
    'an unknown marker' => sub { s/^(?=```sh)/<!-- test: later -->\n/m },
    'a marker without a block' => sub { s/^## .*\n\K/<!-- test: exit 1 -->\nText.\n/m },
    'a block without an end' => sub { s/^```\n(?!.*^```\n)//ms },
    'another command' => sub { s/^(?:sudo tcpdump -i lo|scripts\/ladder.sh) \K/-n/m },
    'another patch' => sub { s/^\+\K(?=    )/ /m },
    'another exit status' => sub { s/test: exit 1/test: exit 2/ },
    'a link to nowhere' => sub { s/\]\(#?\K/x/ },
    'a file that is not there' => sub { s/`(?:tests|scripts)\/\K/x/ },
    'a flag that no packet has' => sub { s/^\| `\[F/| `[U/m },
    'a flag with the name of another' => sub { s/^\| FIN \| `\KF/S/m },
    'a wrong port in a table' => sub { s/^\|.*Sample2.*808\K2/3/mi },
    'a wrong count in a table' => sub { s/^\|.*Sample2.*\| \K8(?= )/9/mi },
    'a wrong ending in a table' => sub { s/^\|.*Sample1.*\KFIN/RST/mi },
    'another wrong ending' => sub { s/^\|.*Sample2.*\KRST/FIN/mi },
    'another who keeps TIME-WAIT' => sub { s/^\|.*Sample1.*\Kクライアント \|/サーバー |/mi },
    'a wrong number in the text' => sub { s/^[^|\n]*\K\b(?:11|10|8|4)(?= ?パケット)/12/m },
    'a wrong time' => sub { s/^\|.*sample3.*\K3 s/4 s/m },
    'a heading less' => sub { s/^(?:### 4-way|## Do it).*\n//m },
    'a section less' => sub { s/^(?:### 3\.|## Figures|## 日本語).*?(?=^##|\z)//ms },
    'a required command less' => sub { s/-nn -tttt -S/-nn -S -tttt/g },
    'a word that must not stand there' => sub { s/^## .*\n\K(?=(?:.*\n)*## まとめ)/\nサーバは眠る。\n/m },
    'a wrong option in the text' => sub { s/`scripts\/ladder\.sh --no-\Ktime/tim/ },
    'a wrong command in the text' => sub { s/\z/`ss -tano8`\n/ },
    'a wrong target' => sub { s/`make \Kdemo/dmo/ },
    'a wrong program' => sub { s/`\.\/sample1\/\Kserver/sever/ },
    'a package less' => sub { s/apt-get install.*\K tcpdump//m },
    'a package of the tests less' => sub { s/apt-get install.*\K nftables//m },
);
for my $what ($update ? () : sort keys %damage) {
  SKIP: {
        skip("$what: $Guide::no_lab", 1) if $Guide::no_lab && $what =~ /^another (?:command|exit|patch)/;
        my ($changed, @unseen) = 0;
        for my $file (@files) {
            local $_ = $page{$file}{text};
            $damage{$what}->() or next;
            my $page = Guide::parse($file, $_);
            my $all = sub { join "\n", @{ $_[0]{problems} }, wrong_text($_[0]),
                map { Guide::check($_, \%results) } @{ $_[0]{units} } };
            push @unseen, $file
                if $all->($page) =~ s/^line \d+//gmr eq $all->($page{$file}) =~ s/^line \d+//gmr;
            $changed++;
        }
        ok($changed && !@unseen, "$what is found") or diag($changed ? "@unseen" : 'no such place');
    }
}
done_testing;
__DATA__
guide: TCPDUMP調査ガイド | 目次 | 基本的な使い方 | 最小限のコマンド | より詳細な情報を表示
guide: パケットの内容を16進数で表示 | タイムスタンプをより読みやすく | ファイルに保存して後で分析
guide: サンプル別の調査方法 | Sample1: 正規の4-wayハンドシェイク | Sample2: RST送信による強制切断
guide: Sample3: 読み取り遅延時のRST動作 | パケットの読み方 | TCPフラグの意味 | フラグの組み合わせ
guide: パケット情報の読み方 | よくあるパターン | 3-way handshake（接続確立） | 4-way handshake（正規の切断）
guide: RST（強制切断） | 実践的なデバッグ手順 | 1. 両サンプルを比較する | 2. タイミングを詳細に確認
guide: 3. データの内容を確認 | 4. 複数ポートを同時監視 | トラブルシューティング | パケットが見えない場合
guide: パケットが多すぎる場合 | まとめ | Sample1 vs Sample2 vs Sample3 | 覚えておくべきコマンド
readme: tcp-close-samples | See it | Do it by hand | Where to go next | Tests | Figures | 日本語
commands: -nn 'port 8081' | -nn -v 'port 8081' | -nn -X 'port 8081' | -nn -tttt 'port 8081'
commands: -nn -w capture.pcap 'port 8081' | sudo tcpdump -nn -r capture.pcap | -nn -v 'port 8082'
commands: -nn -tttt -v 'port 8083' | -nn -v 'port 8081' > sample1.log | -nn -v 'port 8082' > sample2.log
commands: diff sample1.log sample2.log | -nn -tttt -S 'port 8083' | ip addr show lo | tcpdump -D
commands: -nn -v 'port 8081 or port 8082 or port 8083' | -nn -c 50 'port 8081' | -nn -tttt 'port 8082'
commands: -nn -X 'port 8083'
terms: 言[ういわっ]=表示する | [録採][るらりれろっ]=キャプチャする | 輪=ループ | サーバ(?!ー)=サーバー
terms: バッファー=バッファ | 誤植|値打ち|親切|一歩ごと|待ちきれな=as an engineer would say it
tools: tcpdump=tcpdump | ip=iproute2 | unshare=util-linux | make=make | CC=gcc
testtools: nft=nftables | git=git | perl=perl | gawk=gawk | mawk=mawk | clang=clang | clang-tidy=clang-tidy
testtools: cppcheck=cppcheck | musl-gcc=musl-tools | shellcheck=shellcheck | valgrind=valgrind
