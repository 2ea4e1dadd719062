# Small integers through a queue of MCE::Queue, from one process to another, a hundred a call:
# integers a second.

use strict;
use warnings;
use MCE;
use MCE::Queue;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

use constant BATCH => 100;

my ($n) = @ARGV;
my $batches = int($n / BATCH);
my $queue = MCE::Queue->new;

sub produce {
    $queue->enqueue(0);
    $queue->enqueue(1 .. BATCH) for 1 .. $batches;
}

sub consume {
    $queue->dequeue;    # the other is there
    my $from = clock_gettime(CLOCK_MONOTONIC);
    for (my $left = $batches * BATCH; $left > 0;) {
        my @items = $queue->dequeue(BATCH);
        $left -= @items;
    }
    print $batches * BATCH / (clock_gettime(CLOCK_MONOTONIC) - $from), "\n";
}

# The queue is in the process that starts the other two, and serves them.
MCE->new(
    user_tasks => [
        {max_workers => 1, user_func => \&produce},
        {max_workers => 1, user_func => \&consume},
    ]
)->run;
