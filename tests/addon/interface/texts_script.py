# SPDX-License-Identifier: Apache-2.0
"""Inside Blender: find classes and properties of the add-on without its translation context. Argument: ZIP."""

import sys
from importlib import import_module

import bpy
import inside

PACKAGE = inside.install(sys.argv[1])
CONTEXT = import_module(f"{PACKAGE}.texts").CONTEXT
BLENDERS = {prop.identifier for base in (bpy.types.Operator, bpy.types.PropertyGroup, bpy.types.AddonPreferences)
            for prop in base.bl_rna.properties}  # fmt: skip


def classes():
    """Yield the RNA of each operator, panel, menu and group of properties."""
    for module, names in (("interface.operators", "CLASSES"), ("interface.panels", "CLASSES")):
        yield from (cls.bl_rna for cls in getattr(import_module(f"{PACKAGE}.{module}"), names))
    yield import_module(f"{PACKAGE}.interface.tools").VIEW3D_MT_loopcore.bl_rna


def properties():
    for cls in import_module(f"{PACKAGE}.interface.operators").CLASSES:
        operator = getattr(bpy.types, cls.__name__)
        yield from ((cls.__name__, prop) for prop in operator.bl_rna.properties)
    for module, name in (("properties", "LoopcoreObject"), ("preferences", "LoopcorePreferences")):
        cls = getattr(import_module(f"{PACKAGE}.interface.{module}"), name)
        yield from ((name, prop) for prop in cls.bl_rna.properties)


def unnamed(prop):
    """Return whether a property is Blender's own, or one without a label."""
    return prop.identifier in BLENDERS or prop.identifier in ("directory", "filter_folder")


rnas, checked = list(classes()), [(owner, prop) for owner, prop in properties() if not unnamed(prop)]
without = [rna.identifier for rna in rnas if rna.translation_context != CONTEXT]
without += [f"{owner}.{prop.identifier}" for owner, prop in checked if prop.translation_context != CONTEXT]
inside.emit([len(rnas) + len(checked), without])
