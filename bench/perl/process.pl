# Processes that do nothing, started and joined, by MCE::Child: microseconds for one. The second
# argument is how many are started before they are joined (1).

use strict;
use warnings;
use MCE::Child;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

my ($n, $at_once) = (@ARGV, 1);

my $from = clock_gettime(CLOCK_MONOTONIC);
for (my $left = $n; $left > 0; $left -= $at_once) {
    my $batch = $left < $at_once ? $left : $at_once;
    my @started = map { MCE::Child->create(sub { }) } 1 .. $batch;
    $_->join for @started;
}
print +(clock_gettime(CLOCK_MONOTONIC) - $from) / $n * 1e6, "\n";
