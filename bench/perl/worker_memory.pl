# The memory that a process of MCE::Child has for itself while it waits: KiB.

use strict;
use warnings;
use MCE::Child;

my ($n) = @ARGV;

sub private_memory {
    my ($pid) = @_;
    my $kib = 0;
    open my $file, "<", "/proc/$pid/smaps_rollup" or die "$pid: $!";
    while (my $line = <$file>) {
        $kib += $1 if $line =~ /^Private_\w+: +(\d+)/;
    }
    return $kib;
}

my @workers = map { MCE::Child->create(sub { sleep 60 }) } 1 .. $n;
select undef, undef, undef, 0.1;    # they wait
my $kib = 0;
$kib += private_memory($_->pid) for @workers;
print $kib / $n, "\n";
$_->kill("KILL") for @workers;
$_->join for @workers;
