#!/usr/bin/perl
# Does what TCPDUMP_GUIDE.md and README.md tell their reader to do, as an ordinary user would, and
# compares what they print, byte for byte (captured just now: but for times, ports and the like).
#
#   ```sh     commands. What stands under one heading is done in a copy of the project of its own,
#             in a lab. "# ターミナル1" and "# terminal 1" begin a terminal beside the others, another
#             comment something that is done after what stands before it.
#   the rest  (```text, ```c) is the output of the commands before it, one block a terminal; …
#             is what is left out of a line, or all lines before
#
# A marker before a block, which the reader does not see, says what else a test has to know:
#   <!-- test: exit 1 -->             the exit status
#   <!-- test: terminal 3 -->         whose output it is
#   <!-- test: packets -->            of a table: its rows are the packets that the command prints
#   <!-- test: not run, REASON -->    what no test can do
#
# ONLY='実験 4' prove tests/guide.t    does only the sections in whose heading that stands
use v5.36;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Guide;
use Encode qw(decode encode);

my @files = qw(TCPDUMP_GUIDE.md README.md);
my @pages = map { Guide::parse($_) } @files;
my @sections = map { @{ $_->{sections} } } @pages;

# As "guide.t DIRECTORY NUMBER...", in a lab: does these sections, each in DIRECTORY/NUMBER.
if (@ARGV) {
    my ($dir, @numbers) = @ARGV;
    for my $n (@numbers) {
        chdir "$dir/$n" or die "$dir/$n: $!";
        my @problems = Guide::problems($sections[$n]);
        save("$dir/$n.problems", join "\n", @problems);
    }
    exit;
}

my $only = $ENV{ONLY} // '';
need(qw(tcpdump script setpriv git make ss nstat nft taskset));
private_network();

# ---- the reader's machine ------------------------------------------------------------------------

# A clone of the project, built, and a sudo that needs no password: in the lab it has nothing to do.
my $dir = tempdir(CLEANUP => 1);
chmod 0755, $dir;
my $sudo = which('sudo') // 'false';    # lab.sh may need it
mkdir "$dir/bin";
shim("$dir/bin", 'sudo', <<"END");
case \$1 in
-* | unshare) exec $sudo "\$@" ;;
*) PATH=\$PATH:/usr/sbin exec "\$@" ;;
esac
END
my $is_utf8 = ($ENV{LANG} // '') =~ /UTF-8/i;
my %kept = map { $_ => $ENV{$_} } grep { defined $ENV{$_} } qw(CI PATIENCE);
%ENV = (
    %kept,
    PATH    => "$dir/bin:/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games",
    HOME    => $dir,
    USER    => 'reader',
    SHELL   => '/bin/bash',
    TERM    => 'dumb',
    LANG    => $is_utf8 ? $ENV{LANG} : 'C.UTF-8',
    TMPDIR  => $ENV{TMPDIR} // '/tmp',
);
my $copied = 'Makefile .gitignore sample? scripts tests/reference TCPDUMP_GUIDE.md README.md';
my @clone = (
    "mkdir $dir/project",
    "cp -a --parents $copied $dir/project",
    "cd $dir/project",
    'git init -q',
    'git add .',
    'git -c user.name=reader -c user.email=reader commit -qm project',
    'make -s',
);
push @clone, 'chown -R 65534:65534 .' if $< == 0;
system(join ' && ', @clone) == 0 or BAIL_OUT('there is no clone of the project');

# If root does the tests, the reader is the user nobody.
if ($< == 0) {
    my $nobody = 'setpriv --reuid 65534 --regid 65534 --clear-groups';
    my $why = `cd $dir/project && $nobody scripts/lab.sh true 2>&1`;
    skip_or_fail("no lab for the user nobody: $why") if $? != 0;
}

# ---- every section -------------------------------------------------------------------------------

my @numbers = grep { @{ $sections[$_]{steps} } } 0 .. $#sections;
@numbers = grep { index($sections[$_]{heading}, $only) >= 0 } @numbers;
for my $n (@numbers) {
    system('cp', '-a', "$dir/project", "$dir/$n") == 0 or die 'cp';
}

# The CPUs of this machine that the test may use.
my ($allowed) = slurp('/proc/self/status') =~ /^Cpus_allowed_list:\s*(.*)/m;
my @cpus = map { /(\d+)-(\d+)/ ? $1 .. $2 : $_ } split /,/, $allowed;

# Six labs do the sections beside each other, for most of the time a section waits. Each is on one
# CPU, where packets keep their order.
my @share;
for my $i (0 .. $#numbers) {
    push @{ $share[$i % 6] }, $numbers[$i];
}
my @labs;
for my $i (0 .. $#share) {
    my @do_sections = ($^X, "-I$root/tests", "$root/tests/guide.t", $dir, @{ $share[$i] });
    push @labs, start('taskset', '-c', $cpus[$i % @cpus], "$root/scripts/lab.sh", @do_sections);
}
my $all_over = sub { !grep { !Lab::over($_) } @labs };
eventually($all_over, 5 * $Lab::patience);
for my $n (@numbers) {
    my $section = $sections[$n];
    my $where = "$section->{file}, line $section->{line}";
    my $problems = "it was not done to its end\n";
    $problems = slurp("$dir/$n.problems") if -e "$dir/$n.problems";
    is($problems, '', "$where: '$section->{heading}' does what it shows");
}
is(join('', map { slurp($_->{err}) } @labs), '', 'Nothing else is said');

# ---- what the pages have to hold -----------------------------------------------------------------

# The anchor that GitHub gives to HEADING.
sub anchor ($heading) {
    my $anchor = lc(decode('UTF-8', $heading)) =~ s/[^\w\s-]//gr =~ s/\s/-/gr;
    return encode('UTF-8', "#$anchor");
}

my %targets;
for my $page (@pages) {
    for my $heading ($page->{prose} =~ /^#+ (.*)/mg) {
        $targets{ $page->{file} . anchor($heading) } = 1;
    }
}
for my $page (@pages) {
    my @links = grep { !/^https:/ } $page->{prose} =~ /\]\(([^)]+)\)/g;
    my @dead = grep { !-e && !$targets{ s/^#/$page->{file}#/r } } @links;
    is("@dead", '', "Every link of $page->{file} leads somewhere");
}

# They cannot be run as they stand, for they wait for the RST of a real network.
subtest "The guide's filters for RST choose those of IPv4 and of IPv6" => sub {
    for my $filter ($pages[0]{text} =~ /'(tcp\[[^']*)'/g) {
        for my $recording (qw(tests/reference/sample2.pcap tests/ladder/ipv6.pcap)) {
            my $chosen = `tcpdump -nn -r $recording '$filter' 2>/dev/null`;
            my @flags = $chosen =~ /Flags (\[\S+\])/g;
            is("@flags", '[R.]', "$filter: $recording");
        }
    }
};

subtest "The guide's patterns are those of their ports in patterns.pcap" => sub {
    my @patterns = $pages[0]{text} =~ /^\| (81\d\d) \| (.*?) \|/mg;
    while (my ($port, $pattern) = splice @patterns, 0, 2) {
        my $flags = join '.*', map { quotemeta } $pattern =~ /\[[A-Z.]+\]/g;
        my $packets = `tcpdump -nn -r tests/reference/patterns.pcap port $port 2>/dev/null`;
        like($packets, qr/$flags/s, $port);
    }
};

subtest "The guide's card has the number of packets of each sample" => sub {
    my @counts = map { scalar split / /, $wire{$_} } 1 .. 3;
    my ($card) = $pages[0]{text} =~ /^\| パケット数 \| (.*) \|$/m;
    is($card, join(' | ', @counts), 'as on the wire');
};

# What verdict.c adds to a verdict, without what it fills in.
my @words;
for my $call (slurp('scripts/verdict.c') =~ /\badd\((.*?)\);/gs) {
    push @words, map { s/^\W+|\W+$//gr } map { split /%[ds]/ } $call =~ /"(.*?)"/g;
}
my @rows = $pages[0]{text} =~ /^\| .*/mg;
my @missing = grep { my $word = $_; !grep { /\Q$word\E/ } @rows } @words;
is(join("\n", @missing), '', "The guide's tables have the words of every verdict");
cmp_ok(@words, '>', 40, 'which are found');

my ($table) = $pages[1]{text} =~ /^(\| verdict \|.*?)\n\n/ms;
my @short = map { /`(.*?)`/g } $table =~ /^\| (.*?) \|/mg;
my @unknown = grep { my $word = $_; !grep { /\Q$word\E/ } @rows } @short;
is(join("\n", @unknown), '', "README's table of verdicts has words of the guide's tables");

done_testing;
