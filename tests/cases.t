#!/usr/bin/perl
# What scripts/ladder.sh makes of packets: each file tests/ladder/*.txt is a case, and one test.
#
# To add a case, write such a file:
#   A sentence that says what it shows: the title of the test.
#   What tcpdump printed, with whatever options; or "Recording: " and a file of tests/ladder.
#   "Verdict: " and all that stands under the drawing of a conversation, a line for each of them.
#   "Row: " and a whole row of the drawing, for each row that matters, in their order.
#   "Said: " and why not all of it can be read: what stands on stderr behind the name of the file.
# scripts/ladder.sh FILE draws what it makes of it now: is that what TCP says?
#
# prove tests/cases.t :: sack words    does these cases alone
use v5.36;
use FindBin;
use lib $FindBin::Bin;
use Lab;

$ENV{TZ} = 'UTC';

# TEXT without the spaces around it.
sub trimmed ($text) {
    return $text =~ s/^\s+|\s+$//gr;
}

# What TEXT has behind "NAME: ", all of it in lines.
sub told ($name, $text) {
    return join '', map { trimmed($_) . "\n" } $text =~ /^$name: (.+)/mg;
}

# The verdicts of a DRAWING, a line for each conversation: in it they may go on in a second line.
sub verdicts ($drawing) {
    my @verdicts = $drawing =~ /^((?:  \S.*\n)+)/mg;
    return join '', map { trimmed(s/\n +/ /gr) . "\n" } @verdicts;
}

# The first of ROWS that is no row of DRAWING below the one before it; '' if there is none.
sub first_missing ($drawing, $rows) {
    my @rows = split /^/, $rows;
    for my $row (split /\n/, $drawing) {
        my $is_next = @rows && trimmed($row) . "\n" eq $rows[0];
        shift @rows if $is_next;
    }
    return $rows[0] // '';
}

my @names = @ARGV ? @ARGV : map { m{([^/]+)\.txt$} } glob 'tests/ladder/*.txt';
for my $name (@names) {
    my $file = "tests/ladder/$name.txt";
    my $text = slurp($file) or BAIL_OUT("$file: there is no such case");
    my ($title) = $text =~ /^(.+)\n\n/ or BAIL_OUT("$file: no title, and an empty line after it");
    my ($recording) = $text =~ /^Recording: (.+)/m;
    my ($verdicts, $rows, $said) = map { told($_, $text) } qw(Verdict Row Said);
    BAIL_OUT("$file: no line 'Verdict: ...' or 'Said: ...'") if "$verdicts$said" eq '';

    subtest "$title ($name)" => sub {
        need('tcpdump') if $recording;
        my $packets = $recording ? "tests/ladder/$recording" : $file;
        my ($status, $drawing, $complaint) = run('scripts/ladder.sh', $packets);
        is($status, $said ? 1 : 0, 'the status');
        is($complaint, $said && "ladder.sh: $packets: $said", 'what is said');
        is(verdicts($drawing), $verdicts, 'the verdict');
        is(first_missing($drawing, $rows), '', 'no row is missing') or diag($drawing);
    };
}
done_testing;
