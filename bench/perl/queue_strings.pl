# Strings of a size, the second argument, through a queue of MCE::Queue: messages a second.

use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use OneToOne;

my ($n, $size) = @ARGV;
my $text = "x" x $size;
one_to_one($n, sub { return $text });
