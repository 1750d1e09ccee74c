"""The key that signs URLs of private outputs: its pair in the stack's folder, and CloudFront's part of it.

The emulator's CloudFormation creates neither public keys nor key groups. They are created by its API, and the
local template names them by their IDs. On AWS the operator makes the pair and the template does the rest.
"""

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tools.local.emulator import get_client
from tools.local.paths import StackFolder

_NAME = "private-outputs"


def ensure_private_key(folder: StackFolder) -> str:
    """Return the private key of the stack as PEM; create it if there is none."""
    file = folder.url_key_file
    if not file.exists():
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        file.touch(mode=0o600)
        file.write_bytes(pem)
    return file.read_text("ascii")


def get_public_key(private_key: str) -> str:
    """Return the public key of a private key, both as PEM."""
    key = serialization.load_pem_private_key(private_key.encode(), password=None)
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


def ensure_key_group(endpoint_url: str, public_key: str) -> dict[str, str]:
    """Return the IDs of public key and key group by their logical names; create what the emulator lacks."""
    cloudfront = get_client("cloudfront", endpoint_url)
    keys = cloudfront.list_public_keys()["PublicKeyList"].get("Items", [])
    key_id = next((key["Id"] for key in keys if key["Name"] == _NAME), None)
    if key_id is None:
        config = {"CallerReference": _NAME, "Name": _NAME, "EncodedKey": public_key}
        key_id = cloudfront.create_public_key(PublicKeyConfig=config)["PublicKey"]["Id"]
    groups = [item["KeyGroup"] for item in cloudfront.list_key_groups()["KeyGroupList"].get("Items", [])]
    group_id = next((group["Id"] for group in groups if group["KeyGroupConfig"]["Name"] == _NAME), None)
    if group_id is None:
        group = cloudfront.create_key_group(KeyGroupConfig={"Name": _NAME, "Items": [key_id]})
        group_id = group["KeyGroup"]["Id"]
    return {"PrivateOutputsKey1": key_id, "PrivateOutputsKeyGroup": group_id}
