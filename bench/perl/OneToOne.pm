# OneToOne: messages through a queue of MCE::Queue, from one process to another.
#
#   one_to_one($n, sub { my ($i) = @_; ... the message ... });

package OneToOne;

use strict;
use warnings;
use Exporter 'import';
use MCE;
use MCE::Queue;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

our @EXPORT = qw(one_to_one);

# Prints how many messages a second.
sub one_to_one {
    my ($n, $make) = @_;
    my $queue = MCE::Queue->new;
    my $produce = sub {
        $queue->enqueue($make->($_)) for 0 .. $n;
    };
    my $consume = sub {
        $queue->dequeue;    # the other is there
        my $from = clock_gettime(CLOCK_MONOTONIC);
        $queue->dequeue for 1 .. $n;
        print $n / (clock_gettime(CLOCK_MONOTONIC) - $from), "\n";
    };

    # The queue is in the process that starts the other two, and serves them.
    MCE->new(
        user_tasks => [
            {max_workers => 1, user_func => $produce},
            {max_workers => 1, user_func => $consume},
        ]
    )->run;
    return;
}

1;
