# A lock of MCE::Mutex, taken and released while nobody else wants it: nanoseconds a pair.

use strict;
use warnings;
use MCE::Mutex;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

my ($n) = @ARGV;
my $lock = MCE::Mutex->new;

my $from = clock_gettime(CLOCK_MONOTONIC);
for (1 .. $n) {
    $lock->lock;
    $lock->unlock;
}
print +(clock_gettime(CLOCK_MONOTONIC) - $from) / $n * 1e9, "\n";
