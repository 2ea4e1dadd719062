# A number of MCE::Shared, added to: nanoseconds.

use strict;
use warnings;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

if (!eval { require MCE::Shared }) {
    print "no MCE::Shared\n";
    exit;
}

my ($n) = @ARGV;
my $value = MCE::Shared->scalar(0);

my $from = clock_gettime(CLOCK_MONOTONIC);
for (1 .. $n) {
    $value->incrby(1);
}
print +(clock_gettime(CLOCK_MONOTONIC) - $from) / $n * 1e9, "\n";
