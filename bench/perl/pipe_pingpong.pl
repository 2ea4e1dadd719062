# A small integer through a channel of MCE::Channel and back: microseconds a round trip.

use strict;
use warnings;
use MCE::Channel;
use MCE::Child;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

my ($n) = @ARGV;
my $channel = MCE::Channel->new(impl => "Simple");

sub round_trip {
    $channel->send($_[0]);
    $channel->recv2 == $_[0] or die "another message";
}

my $child = MCE::Child->create(
    sub {
        $channel->send2($channel->recv) for 0 .. $n;
    }
);
round_trip(0);    # the child is there
my $from = clock_gettime(CLOCK_MONOTONIC);
round_trip($_) for 1 .. $n;
print +(clock_gettime(CLOCK_MONOTONIC) - $from) / $n * 1e6, "\n";
$child->join;
