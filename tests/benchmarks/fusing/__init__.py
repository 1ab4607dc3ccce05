"""What fusing itself saves: the judge's prompt read ahead, judges not asked, stragglers not waited for."""
