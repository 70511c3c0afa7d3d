#!/usr/bin/perl
# What scripts/ladder.sh makes of packets: each file tests/ladder/*.txt is a case, and one test.
#
# To add a case, write such a file:
#   A sentence that says what it shows: the title of the test.
#   What tcpdump printed, with whatever options; or "Recording: " and a file of tests/ladder.
#   "Verdict: " and all that stands under the drawing of a conversation, a line for each of them.
#   "Row: " and a whole row of the drawing, for each row that matters, in their order.
# scripts/ladder.sh FILE draws what it makes of it now: is that what TCP says?
#
# prove tests/cases.t :: sack vlan    does these cases alone
use v5.36;
use FindBin;
use lib $FindBin::Bin;
use Lab;

need('tcpdump');
$ENV{TZ} = 'UTC';

# TEXT without the spaces around it.
sub trimmed ($text) {
    return $text =~ s/^\s+|\s+$//gr;
}

# The verdicts of a DRAWING, a line for each conversation: in it they may go on in a second line.
sub verdicts ($drawing) {
    my @verdicts = $drawing =~ /^((?:  \S.*\n)+)/mg;
    return join '', map { trimmed(s/\n +/ /gr) . "\n" } @verdicts;
}

# Those of ROWS that are rows of DRAWING, each below the one before it.
sub found ($drawing, @rows) {
    my @found;
    for my $row (split /\n/, $drawing) {
        next if @rows == 0 || trimmed($row) ne $rows[0];
        push @found, shift @rows;
    }
    return join "\n", @found;
}

my @names = @ARGV ? @ARGV : map { m{([^/]+)\.txt$} } glob 'tests/ladder/*.txt';
for my $name (@names) {
    my $file = "tests/ladder/$name.txt";
    my $text = slurp($file) or BAIL_OUT("$file: there is no such case");
    my ($title) = $text =~ /^(.+)\n\n/ or BAIL_OUT("$file: no title, and an empty line after it");
    my ($recording) = $text =~ /^Recording: (.+)/m;
    my @verdicts = $text =~ /^Verdict: (.+\n)/mg or BAIL_OUT("$file: no line 'Verdict: ...'");
    my @rows = map { trimmed($_) } $text =~ /^Row: (.+)/mg;

    subtest "$title ($name)" => sub {
        my $packets = $recording ? "tests/ladder/$recording" : $file;
        my ($status, $drawing, $complaint) = run('scripts/ladder.sh', $packets);
        is("$status $complaint", '0 ', 'it is drawn');
        is(verdicts($drawing), join('', @verdicts), 'the verdict');
        is(found($drawing, @rows), join("\n", @rows), 'the rows') or diag($drawing);
    };
}
done_testing;
