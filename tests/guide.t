#!/usr/bin/perl
# Does what TCPDUMP_GUIDE.md and README.md tell their reader to do, and compares what they print.
#
#   ```sh       commands, run as they stand, in the lab and in a copy of the project (sudo is passed
#               through). "# ターミナル..." begins another terminal. A capture gets the sample whose
#               port it names, unless the block starts one, and Ctrl-C when the packets are there.
#   ```text     the output of the commands before it, one block a terminal; ```c, ```diff and
#               ```mermaid too. Byte for byte, unless packets are captured live (see Guide::pattern).
#   ```diff     with "--- a/" it is a patch, applied for the commands after it, up to the next heading:
#               before them, but after their own "git checkout", or where they say "git apply".
# A marker stands before a block, where the reader does not see it: <!-- test: exit 1 -->, the exit status;
# needs tshark, left out where that is not installed; output of COMMAND, one that the reader does not see;
# not run, REASON, for what no test can do: installing, cloning, the tests themselves.
use v5.36;
use FindBin; use lib $FindBin::Bin; use Lab; use Guide;
use Encode qw(decode encode);
need(qw(tcpdump script git make ss nstat nft taskset));
my @files = qw(TCPDUMP_GUIDE.md README.md);
private_network();

# ---- the reader's machine: a clone of the project, built, and a sudo that needs no password ------
my $dir = tempdir(CLEANUP => 1);
chmod 0755, $dir;    # tcpdump, once it has dropped to its own user, comes back here to write
mkdir "$dir/$_" for qw(bin project);
my $sudo = which('sudo') // '';    # lab.sh may need it
save("$dir/bin/sudo", "#!/bin/sh\ncase \$1 in -* | unshare) exec $sudo \"\$@\" ;; *) exec \"\$@\" ;; esac\n");
delete @ENV{qw(MAKELEVEL MFLAGS LANGUAGE), grep { /^GIT_/ } keys %ENV};
@ENV{qw(PATH TZ LC_ALL TERM SHELL USER MAKEFLAGS)} = ("$dir/bin:$ENV{PATH}:/usr/sbin:/sbin", 'JST-9',
    'C.UTF-8', 'dumb', '/bin/bash', getpwuid($<) // $<, ' -- CFLAGS=-O0');
@ENV{qw(GIT_CONFIG_GLOBAL GIT_CONFIG_NOSYSTEM GIT_CEILING_DIRECTORIES)} = ('/dev/null', 1, $dir);
system("cp -R --parents Makefile .gitignore sample? scripts tests/reference $dir/project && cd $dir/project &&
    make -s clean && git init -q && git add . &&
    git -c user.name=reader -c user.email=reader commit -qm project && make -s") == 0 or BAIL_OUT('no copy');

# ---- what the text says beside its blocks --------------------------------------------------------
my (%list, %tried);
for (<DATA>) { push @{ $list{$1} }, split / \| /, $2 if /^(\w+): (.*)/ }
my %letter = (SYN => 'S', FIN => 'F', RST => 'R', PSH => 'P', ACK => '.');
sub letters { return join '', map { $letter{$_} // '?' } $_[0] =~ /[A-Z]{3}/g }    # "SYN, ACK": S.

# What is not so in UNIT's prose. A row of a table is about the sample in its first cell, a sentence about the
# only sample it names; packets are all of them, those from the first FIN or RST on, or what an output counts.
sub wrong_facts ($unit) {
    my @wrong;
    for ($unit->{prose} =~ /^\|.*/mg, split /\n|。|[.:] /, $unit->{prose} =~ s/^\|.*//mgr) {
        my %named = map { $_ => 1 } /^\|/ ? /^\|\W*sample([123])/i : /sample([123])/gi;
        my ($n, @others) = keys %named;
        next if !$n || @others;
        my @counts = map { scalar(() = /[<>]/g) } $wire{$n}, $wire{$n} =~ /(.[FR].*)/;
        my @words = $n == 1 ? ('FIN', 'no RST', 'クライアント') : ('RST', 'no FIN', 'なし', '0');
        my %right = map { $_ => 1 } "808$n", @counts, @words, slurp("sample$n/client.c") =~ /sleep\((\d)\)/g;
        push @wrong, grep { defined && !$right{$_} && $unit->{text} !~ /\b$_ packets/ } /^\|/ ?
            /\b(808\d|(?:no )?(?:FIN|RST)|\d+(?= ?(?:s\b|秒|\|)))|\| (クライアント|サーバー|なし)(?= \|)/g :
            /(?<![\d.,])(\d+) ?(?:個の)?(?:パケット|packets)/g;
        my $flags = join '', $wire{$n} =~ /[<>]([A-Z.])/g;
        push @wrong, grep { index($flags, letters($_)) < 0 } /^\|.*?([A-Z]{3}(?:(?:, | → )[A-Z]{3})+)/;
    }
    return @wrong;
}

# Whether a COMMAND in the text is wrong: its file, option, setting or target is not there, or it fails.
sub wrong_command ($command) {
    local $_ = $command;
    my @files = map { s{^\./(.*)}{$1.c}r } m{(?<![^ ])((?:\./)?(?:scripts|tests|sample\d)/\S*)}g;
    return 1 if grep { !-e } @files or /sample(?![123N])/;
    return 1 if /(?:^| )make (\w+)/ && slurp('Makefile') !~ /^(?:.* )?$1\b.*:/m;
    if (/^(?:[A-Z_]+=(?:'.*'|\S+) )?(?:prove )?(?:scripts|tests)\//) {
        my $source = join '', map { slurp($_) } @files;
        return grep { $source !~ /(?<![\w-])$_\b/ } s/ -- .*//r =~ /(?<![^ ])(--?[a-z][\w-]*|[A-Z_]+(?==))/g;
    }
    return 0 if !/^(?:sudo )?(?:tcpdump|ss|nstat|ip) / || /\b[A-Z]{4,}\b|…|\$| -[rwc]$/;
    s/^sudo |-i \w+//g, s/^tcpdump/$& -r tests\/reference\/sample1.pcap/;
    return $tried{$_} //= system("cd $dir/project && ($_) >/dev/null 2>&1 </dev/null");
}

# What is wrong with the PAGE beside its blocks.
sub wrong_text ($page) {
    my ($guide, @wrong) = $page->{file} =~ /GUIDE/;
    my $prose = join '', map { $_->{prose} } @{ $page->{units} };
    my %anchor = map { encode('UTF-8', '#' . lc =~ s/[^\w\s-]//gr =~ s/\s/-/gr) => 1 }
        decode('UTF-8', $prose) =~ /^#+ (.*)/mg;
    push @wrong, map { "a link to $_" } grep { !/^https:/ && !$anchor{$_} && !-e } $prose =~ /\]\(([^)]+)\)/g;
    push @wrong, map { "a command: $_" } grep { wrong_command($_) } map { split / && |; / }
        $prose =~ /(?<!`)`([^`\n]+)`/g;
    push @wrong, map { "not so: $_" } map { wrong_facts($_) } @{ $page->{units} };

    # In a table, names of flags are those of their letters; every combination of flags is in an output.
    for ($prose =~ /^\|.*/mg) {
        my ($code, $names) = (/\| `\[?([A-Z.]+)\]?` \|/, /\| ([A-Z]{3}(?: \+ [A-Z]{3})*) \|/);
        push @wrong, "not $names: $code" if $names && $code ne letters($names);
    }
    my $seen = join '', map { $_->{body} } @{ $page->{outputs} };
    push @wrong, map { "never seen: $_" } grep { index($seen, "Flags $_") < 0 } $prose =~ /`(\[[A-Z.]+\])`/g;
    my $bare = "$page->{commands}$prose" =~ s/ //gr;
    push @wrong, map { "no heading or command: $_" } grep { $bare !~ /(?:^#*|`)\Q$_\E(?:`|$)/m }
        map { s/^-/sudo tcpdump -i lo -/r =~ s/ //gr } @{ $list{ $guide ? 'guide' : 'readme' } };
    my @install = ($page->{commands} =~ /^sudo apt-get install (.*)/mg, '', '');
    for my $n ($guide ? () : (0, 1)) {
        my $source = join '', map { slurp($_) } 'Makefile', glob $n ? 'scripts/* tests/*' : 'scripts/*';
        my %package = map { /(.*)=(.*)/ ? ($1, $2) : ($_, $_) } @{ $list{tools} },
            $n ? @{ $list{testtools} } : ();
        push @wrong, map { "not installed: $_" } grep { $source =~ /(?<![\w-])$_(?![\w-])/ &&
            " $install[$n] " !~ / $package{$_} / } keys %package;
    }
    return @wrong if !$guide;
    push @wrong, map { "not in each sample: $_" } grep { 3 > (() = $prose =~ /$_/g) }
        qw(ポート: 確認ポイント 期待される出力 重要);
    return @wrong;
}

# ---- do it ---------------------------------------------------------------------------------------
my %page = map { $_ => Guide::parse($_, slurp($_)) } @files;
my @units = grep { @{ $_->{blocks} } } map { @{ $page{$_}{units} } } @files;
Guide::run_units("$dir/project", @units);
Guide::run_units("$dir/project", grep { Guide::check($_) } @units);    # a capture was not written in time?
is(join("\n", @{ $page{$_}{problems} }), '', "$_: every block is a command, a patch or an output") for @files;
is(join("\n", wrong_text($page{$_})), '', "$_: links, commands, numbers and headings are right") for @files;
for my $unit (@units) {
    my @skipped = map { $_->{skip} ? "(left out: $_->{skip})" : () } @{ $unit->{blocks} };
    is(join("\n", Guide::check($unit)), '', "$unit->{name} @skipped");
}

# ---- the test of the test: what is wrong in a page is found --------------------------------------
my $line = '12:00:00.01 IP 127.0.0.1.8081 > 127.0.0.1.40000: Flags [P.], seq 1:5, ack 5, win 512, length 4';
isnt(Guide::pattern($line =~ s/$_/9/r), Guide::pattern($line), "a live output that differs in $_ is found")
    for qr/IP.*\K8/, qr/\[\KP/, qr/seq \K1/, qr/ack \K5/, qr/4$/, qr/$/;
my %damage = (    # one for each kind of check; found in every page that has the place
    'a link to nowhere' => sub { s/\]\(#?\K/x/ },
    'a wrong option in the text' => sub { s/`scripts\/ladder\.sh --no-\Ktime/tim/ },
    'a wrong command in the text' => sub { s/\z/`ss -tano8`\n/ },
    'a flag with the name of another' => sub { s/^\| FIN \| `\KF/S/m },
    'a wrong count in a table' => sub { s/^\|.*Sample2.*\| \K8(?= )/9/mi },
    'a wrong ending in a table' => sub { s/^\|.*Sample1.*\KFIN/RST/mi },
    'a wrong number in the text' => sub { s/^[^|\n]*sample1[^|\n]*\K\b(?:11|4)(?= ?(?:個の)?パケット)/12/m },
    'a section less' => sub { s/^(?:### 3\.|## Figures|## 日本語).*?(?=^##|\z)//ms },
    'a required command less' => sub { s/-nn -tttt -S/-nn -S -tttt/g },
    'a package less' => sub { s/apt-get install.*\K nftables//m },
);
for my $what (sort keys %damage) {
    my @found;
    for my $file (@files) {
        local $_ = $page{$file}{text};
        push @found, !!wrong_text(Guide::parse($file, $_)) if $damage{$what}->();
    }
    ok(@found && !grep({ !$_ } @found), "$what is found");
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
guide: -nn 'port 8081' | -nn -v 'port 8081' | -nn -X 'port 8081' | -nn -tttt 'port 8081'
guide: -nn -w capture.pcap 'port 8081' | sudo tcpdump -nn -r capture.pcap | -nn -v 'port 8082'
guide: -nn -tttt -v 'port 8083' | -nn -v 'port 8081' > sample1.log | -nn -v 'port 8082' > sample2.log
guide: diff sample1.log sample2.log | -nn -tttt -S 'port 8083' | ip addr show lo | tcpdump -D
guide: -nn -v 'port 8081 or port 8082 or port 8083' | -nn -c 50 'port 8081' | -nn -tttt 'port 8082'
guide: -nn -X 'port 8083'
readme: tcp-close-samples | See it | Do it by hand | Where to go next | Tests | Figures | 日本語
tools: tcpdump | ip=iproute2 | unshare=util-linux | make | CC=gcc
testtools: nft=nftables | git | perl | gawk | mawk | clang | clang-tidy | cppcheck | musl-gcc=musl-tools
testtools: shellcheck | valgrind
