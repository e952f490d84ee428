"""Makes a bucket, and lets it keep versions: bucket.py ENDPOINT BUCKET ["versions"]; keys from the environment."""

import sys

import boto3
from botocore.config import Config

endpoint, bucket, versions = sys.argv[1:4]
s3 = boto3.client(
    "s3",
    endpoint_url=endpoint,
    region_name="us-east-1",
    config=Config(s3={"addressing_style": "path"}, connect_timeout=5, read_timeout=20, retries={"max_attempts": 2}),
)
s3.create_bucket(Bucket=bucket)
if versions:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
