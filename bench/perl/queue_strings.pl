# Strings of a size, the second argument, through a queue of MCE::Queue, from one process to
# another: messages a second.

use strict;
use warnings;
use MCE;
use MCE::Queue;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

my ($n, $size) = @ARGV;
my $text = "x" x $size;
my $queue = MCE::Queue->new;

sub produce {
    $queue->enqueue($text) for 0 .. $n;
}

sub consume {
    $queue->dequeue;    # the other is there
    my $from = clock_gettime(CLOCK_MONOTONIC);
    $queue->dequeue for 1 .. $n;
    print $n / (clock_gettime(CLOCK_MONOTONIC) - $from), "\n";
}

# The queue is in the process that starts the other two, and serves them.
MCE->new(
    user_tasks => [
        {max_workers => 1, user_func => \&produce},
        {max_workers => 1, user_func => \&consume},
    ]
)->run;
