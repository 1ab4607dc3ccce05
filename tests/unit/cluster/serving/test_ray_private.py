"""What the project uses of Ray's private parts, in the version that it was written for."""

from __future__ import annotations

import inspect

import ray
from ray._private import services, worker
from ray.experimental import internal_kv

from cluster.serving import ray_private


def test_ray_2_60_has_the_private_parts_in_use() -> None:
    assert ray.__version__.startswith("2.60.")
    assert set(inspect.signature(internal_kv._internal_kv_put).parameters) >= {"overwrite", "namespace"}
    assert set(inspect.signature(internal_kv._internal_kv_get).parameters) >= {"namespace"}
    assert callable(services.find_gcs_addresses)
    assert callable(services.canonicalize_bootstrap_address)
    assert worker._global_node is None


def test_outside_of_a_session_there_is_no_folder_and_a_full_address_stands_for_itself() -> None:
    assert ray_private.session_folder() is None
    assert str(ray_private.bootstrap_address("10.1.2.3:6379")) == "10.1.2.3:6379"
