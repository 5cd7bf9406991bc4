"""A data model as iTop compiles it, of a workshop for lifts: small, with one of everything that has to be read."""

from __future__ import annotations

TICKET = """
  <class id="Ticket" _created_in="acme-tickets" _alteration="added">
   <parent>cmdbAbstractObject</parent>
   <properties><abstract>true</abstract></properties>
   <fields>
    <field id="ref" xsi:type="AttributeString"><default_value /><is_null_allowed>true</is_null_allowed></field>
    <field id="org_id" xsi:type="AttributeExternalKey">
     <target_class>Organization</target_class><is_null_allowed>false</is_null_allowed>
    </field>
    <field id="caller_id" xsi:type="AttributeExternalKey">
     <filter>SELECT Person WHERE org_id = :this-&gt;org_id</filter>
     <dependencies><attribute id="org_id" /></dependencies>
     <target_class>Person</target_class><is_null_allowed>true</is_null_allowed>
    </field>
    <field id="title" xsi:type="AttributeString"><default_value /><is_null_allowed>false</is_null_allowed></field>
    <field id="description" xsi:type="AttributeText">
     <default_value /><is_null_allowed>false</is_null_allowed><format>html</format>
    </field>
    <field id="old_code" xsi:type="AttributeString" _alteration="removed">
     <is_null_allowed>false</is_null_allowed>
    </field>
    <field id="private_log" xsi:type="AttributeCaseLog"><is_null_allowed>true</is_null_allowed></field>
    <field id="parts_list" xsi:type="AttributeLinkedSet"><linked_class>Part</linked_class></field>
   </fields>
   <presentation><details><items>
    <item id="title"><rank>20</rank></item>
    <item id="ref"><rank>10</rank></item>
   </items></details></presentation>
  </class>"""

LIFT_REPAIR = """
   <class id="LiftRepair" _alteration="added">
    <properties><abstract>false</abstract></properties>
    <fields>
     <field id="note" xsi:type="AttributeString"><default_value /><is_null_allowed>false</is_null_allowed></field>
     <field id="load" xsi:type="AttributeDecimal"><default_value>1.5</default_value></field>
    </fields>
   </class>"""

REPAIR = f"""
  <class id="Repair" _created_in="acme-repairs" _alteration="added">
   <parent>Ticket</parent>
   <properties>
    <abstract>false</abstract>
    <fields_semantic><state_attribute>stage</state_attribute></fields_semantic>
   </properties>
   <fields>
    <field id="stage" xsi:type="AttributeEnum">
     <sort_type>rank</sort_type>
     <values>
      <value id="closed"><code>closed</code><rank>30</rank></value>
      <value id="planned"><code>planned</code><rank>10</rank></value>
      <value id="at work"><code>at work</code><rank>20</rank></value>
     </values>
     <default_value>planned</default_value><is_null_allowed>false</is_null_allowed>
    </field>
    <field id="hurry" xsi:type="AttributeEnum">
     <values><value><code>b</code></value><value id="a" /></values>
     <default_value>b</default_value><is_null_allowed>false</is_null_allowed>
    </field>
    <field id="colour" xsi:type="AttributeEnum">
     <sort_type>label</sort_type>
     <values><value id="r" /><value id="g" /><value id="z" /></values><default_value />
    </field>
    <field id="origin" xsi:type="AttributeEnum">
     <sort_type>code</sort_type><values><value id="web" /><value id="chat" /></values><default_value>web</default_value>
    </field>
    <field id="wing_id" xsi:type="AttributeExternalKey">
     <target_class>Wing</target_class><default_value>0</default_value><is_null_allowed>false</is_null_allowed>
    </field>
    <field id="bench_id" xsi:type="AttributeExternalKey">
     <filter><![CDATA[SELECT Bench
WHERE wing_id = :this->wing_id AND (ISNULL(:this->hurry) OR hurry = :this->hurry)]]></filter>
     <dependencies><attribute id="wing_id" /><attribute id="hurry" /></dependencies>
     <target_class>Bench</target_class><is_null_allowed>true</is_null_allowed>
    </field>
    <field id="above_id" xsi:type="AttributeHierarchicalKey"><is_null_allowed>true</is_null_allowed></field>
    <field id="note" xsi:type="AttributeText"><default_value>none</default_value></field>
    <field id="story" xsi:type="AttributeLongText"><format>html</format></field>
    <field id="page" xsi:type="AttributeHTML"><is_null_allowed>true</is_null_allowed></field>
    <field id="manual" xsi:type="AttributeURL"><is_null_allowed>true</is_null_allowed></field>
    <field id="count" xsi:type="AttributeInteger"><default_value>3</default_value></field>
    <field id="due" xsi:type="AttributeDate"><default_value>2026-01-31</default_value></field>
    <field id="seen" xsi:type="AttributeDateTime">
     <default_value>NOW()</default_value><is_null_allowed>false</is_null_allowed>
    </field>
    <field id="mood" xsi:type="AttributeMetaEnum">
     <values><value id="fine" /></values><default_value>fine</default_value>
    </field>
    <field id="serial" xsi:type="AttributeString"><is_null_allowed>false</is_null_allowed></field>
    <field id="clock" xsi:type="AttributeStopWatch"><states><state id="planned" /></states></field>
    <field id="public_log" xsi:type="AttributeCaseLog"><is_null_allowed>true</is_null_allowed></field>
   </fields>
   <lifecycle><states>
    <state id="drawn"><flags>
     <attribute id="ref"><read_only /></attribute>
     <attribute id="bench_id"><mandatory /></attribute>
     <attribute id="colour"><mandatory /></attribute>
    </flags></state>
    <state id="planned">
     <flags>
      <attribute id="caller_id"><mandatory /></attribute>
      <attribute id="count"><read_only /></attribute>
      <attribute id="serial"><read_only /></attribute>
      <attribute id="colour" />
     </flags>
     <inherit_flags_from>drawn</inherit_flags_from>
    </state>
    <state id="closed"><flags><attribute id="title"><read_only /></attribute></flags></state>
   </states></lifecycle>
   <methods><method id="Sing"><code><![CDATA[<class id="Ghost"> & friends]]></code></method></methods>
   <relations><class id="Ghost"><parent>Ticket</parent></class></relations>
   <presentation><details><items>
    <item id="col:right"><rank>20</rank><items>
     <item id="fieldset:Repair:more"><rank>1</rank><items>
      <item id="bench_id"><rank>20</rank></item><item id="wing_id"><rank>10</rank></item>
     </items></item>
    </items></item>
    <item id="col:left"><rank>10</rank><items>
     <item id="title"><rank>20</rank></item><item id="stage"><rank>10</rank></item>
     <item id="not_there"><rank>30</rank></item>
    </items></item>
    <item id="public_log"><rank>30</rank></item>
   </items></details></presentation>{LIFT_REPAIR}
  </class>"""

BENCH = """
  <class id="Bench"><parent>cmdbAbstractObject</parent>
   <fields><field id="name" xsi:type="AttributeString"><is_null_allowed>false</is_null_allowed></field></fields>
  </class>"""

MENUS = """
 <user_rights><class id="Ghost"><parent>Ticket</parent></class></user_rights>
 <menus><menu id="Repairs">
  <class>Repair</class><classes><class id="Ghost"><parent>Ticket</parent></class></classes>
 </menu></menus>"""

DICTIONARIES = """
 <dictionaries>
  <dictionary id="EN US"><english_description>English</english_description><entries>
   <entry id="Class:Ticket/Attribute:title">Title</entry>
   <entry id="Class:Ticket/Attribute:title+">What it is about</entry>
   <entry id="Class:Ticket/Attribute:description">Description</entry>
   <entry id="Class:Repair">Repair</entry>
   <entry id="Class:Repair/Attribute:title">Job</entry>
   <entry id="Class:Repair/Attribute:hurry">Hurry</entry>
   <entry id="Class:Repair/Attribute:hurry/Value:a">At once</entry>
   <entry id="Class:Repair/Attribute:hurry/Value:b">Whenever</entry>
   <entry id="Class:Repair/Attribute:colour/Value:r">Zinnober</entry>
   <entry id="Class:Repair/Attribute:colour/Value:g">Apple</entry>
   <entry id="Class:Bench/Attribute:name">Bench name</entry>
   <entry id="UI:Button:Ok">Ok</entry>
  </entries></dictionary>
  <dictionary id="EN GB"><entries>
   <entry id="Class:Repair/Attribute:colour">Colour</entry>
  </entries></dictionary>
  <dictionary id="FR FR"><entries>
   <entry id="Class:Ticket/Attribute:title">Titre &amp; objet</entry>
   <entry id="Class:LiftRepair">Réparation d'ascenseur</entry>
   <entry id="Class:Repair/Attribute:hurry/Value:a">Tout de suite</entry>
   <entry id="Class:Ticket/Attribute:description" />
  </entries></dictionary>
  <dictionary id="DE DE"><entries>
   <entry id="Class:Ticket/Attribute:title">Titel</entry>
   <entry id="Class:Repair/Attribute:title">Job~~</entry>
  </entries></dictionary>
  <dictionary id="IT IT"><entries>
   <entry id="Class:Bench/Attribute:name">Nome</entry>
   <entry id="Class:Repair/Attribute:title+">Di che si tratta</entry>
  </entries></dictionary>
  <dictionary id="ES CR"><entries><entry id="Class:Repair">Reparación</entry></entries></dictionary>
  <dictionary id="ES ES"><entries><entry id="Class:Repair">Arreglo</entry></entries></dictionary>
 </dictionaries>"""


def design(*classes: str, dictionaries: str = DICTIONARIES) -> bytes:
    """Return the file; without `classes`, all of the workshop."""
    return (
        "<?xml version='1.0' encoding='utf-8'?>\n"
        '<itop_design xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" version="3.2">\n <classes>'
        f"{''.join(classes or (REPAIR, TICKET, BENCH))}\n </classes>{MENUS}{dictionaries}\n</itop_design>\n"
    ).encode()
