# Small hashes through a queue of MCE::Queue: messages a second.

use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use OneToOne;

my ($n) = @ARGV;
one_to_one($n, sub { return {id => $_[0], name => "job", done => 0} });
