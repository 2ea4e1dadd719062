# The squares of a list by two workers of MCE::Map; the second argument is the chunk size, without
# one MCE chooses it: items a second.

use strict;
use warnings;
use MCE::Map;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

my ($n, $chunk) = @ARGV;
MCE::Map->init(max_workers => 2, chunk_size => $chunk || "auto");

my $square = sub { $_ * $_ };
my @list = 1 .. $n;
MCE::Map->run($square, [1 .. 4]);    # the workers are there
my $from = clock_gettime(CLOCK_MONOTONIC);
my @squares = MCE::Map->run($square, \@list);
print $n / (clock_gettime(CLOCK_MONOTONIC) - $from), "\n";
@squares == $n && $squares[-1] == $n * $n or die "wrong squares";
MCE::Map->finish;
